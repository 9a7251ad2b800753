"""The work of `fibstream select`: networks and iterations chosen of an evaluation store."""

import csv
import io
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from fibstream.app.evaluation.plots import EVERY, PLOTS, possible, refinement
from fibstream.app.evaluation.refinement import effects
from fibstream.app.evaluation.selection import (
    DICE,
    DISTANCE,
    Manual,
    Score,
    Selection,
    StopRule,
    check_metric,
    manual_selections,
    one_dilation,
    scores_of,
    select,
)
from fibstream.app.evaluation.store import read
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.kernels.metrics import METRICS, PUBLISHED

COLUMNS = (
    "group", "label", "way", "metric", "crop", "setup", "iteration", "chosen_on", "score",
    DICE, DISTANCE,
)  # fmt: skip
MANUAL = ("setup", "labelname", "iteration", "raw_dataset")
MAX_MANUAL = 1 << 20  # bytes of a file of choices made by hand

log = logging.getLogger(__name__)

Groups = dict[str, list[Selection]]


def selections(
    store: Path, labels: Sequence[str], metrics: Sequence[str], rule: StopRule, *,
    manual: Path | None = None, groups: Sequence[str] = (), dilate_nm: float | None = None,
) -> Groups:  # fmt: skip
    """Return what is chosen for each label by each metric, of each group of setups.

    A label that was named needs values of all metrics. Others, and those that a group's setups do
    not predict, are left out where nothing can be chosen by.
    """
    for metric in metrics:
        check_metric(metric)
    scores = one_dilation(scores_of(read(store)), labels, dilate_nm)
    chosen = labels or sorted({score.label for score in scores})
    if not chosen:
        raise WrongUse(f"--store {store}: no scores of predictions with setup and iteration")
    found: Groups = {}
    for name, some in _grouped(scores, groups):
        there = {(score.label, score.metric) for score in some}
        wanted = [(n, m) for n in chosen for m in metrics
                  if (n, m) in there or (labels and name == EVERY)]  # fmt: skip
        if name == EVERY:
            for n, m in sorted({(n, m) for n in chosen for m in metrics} - set(wanted)):
                log.warning("%s: no prediction has a %s: nothing is chosen by it", n, _told(m))
            _tell_incomplete(some, wanted)
        found[name] = [s for n, m in wanted for s in select(some, n, m, rule)]
        by_hand = [m for m in _manual(manual) if m.label in chosen]
        setups = {score.setup for score in some}
        found[name] += manual_selections(some, [m for m in by_hand if m.setup in setups])
    if not found[EVERY]:
        told = " or ".join(_told(metric) for metric in metrics)
        raise WrongUse(f"--store {store}: no prediction has a {told}: nothing can be chosen")
    return found


def _told(metric: str) -> str:
    """Return a metric with the length that it is chosen with."""
    name = METRICS[metric].parameter
    return metric if not name else f"{metric} with {name} {getattr(PUBLISHED, name):g} nm"


def _tell_incomplete(scores: Sequence[Score], wanted: Sequence[tuple[str, str]]) -> None:
    """Warn of networks that cannot be chosen, since others were scored at more crops."""
    crops = Counter((s.label, s.metric, s.setup, s.iteration) for s in scores)
    for label, metric in wanted:
        counts = [n for (*of, _, _), n in crops.items() if of == [label, metric]]
        if fewer := sum(n < max(counts) for n in counts):
            log.warning(
                "%s: %d of %d networks and iterations have a %s at fewer crops than others: they "
                "are chosen on no crop that they lack", label, fewer, len(counts), metric,
            )  # fmt: skip


def _grouped(
    scores: Sequence[Score], groups: Sequence[str]
) -> Iterator[tuple[str, Sequence[Score]]]:
    """Yield all scores, then each ``NAME=SETUP,SETUP`` with those of its setups."""
    yield EVERY, scores
    known = {score.setup for score in scores}
    for group in groups:
        name, equals, listed = group.partition("=")
        setups = set(listed.split(","))
        if name in ("", EVERY) or not equals or not setups <= known:
            raise WrongUse(
                f"--group {cut(group)}: expected NAME=SETUP,SETUP of {', '.join(sorted(known))}"
            )
        yield name, [score for score in scores if score.setup in setups]


def _manual(path: Path | None) -> list[Manual]:
    """Return experts' choices of a CSV file with the published columns."""
    if path is None:
        return []
    try:
        if path.stat().st_size > MAX_MANUAL:
            raise WrongUse(f"--manual {path}: over 1 MB; expected a list of choices")
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongUse(f"--manual {path}: {error}; expected a CSV file") from error
    if rows and not set(MANUAL) <= rows[0].keys():
        raise WrongUse(f"--manual {path}: line 1: expected the columns {','.join(MANUAL)}")
    return [_choice(path, line, row) for line, row in enumerate(rows, 2)]


def _choice(path: Path, line: int, row: dict[str, str | None]) -> Manual:
    setup, label, iteration, raw = (row.get(name) or "" for name in MANUAL)
    if not (setup and label and raw and iteration.isascii() and iteration.isdecimal()):
        raise WrongUse(
            f"--manual {path}: line {line}: expected {','.join(MANUAL)}, the iteration a number"
        )
    return Manual(setup, label, int(iteration), raw)


def untested(groups: Groups) -> list[str]:
    """Return the classes with one crop: there is no other one that a test could choose on."""
    every = groups[EVERY]
    return sorted({s.label for s in every} - {s.label for s in every if s.way == "test"})


def table(groups: Groups) -> bytes:
    """Return all choices as CSV, what each scores at its crop included."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, each in groups.items():
        for s in each:
            scored = [s.scored.get(metric, "") for metric in (DICE, DISTANCE)]
            score = s.choice.score if s.metric else ""
            writer.writerow(
                [name, s.label, s.way, s.metric, s.crop, s.choice.setup, s.choice.iteration,
                 s.choice.crops or "", score, *scored]
            )  # fmt: skip
    return out.getvalue().encode()


def draw(groups: Groups, store: Path, folder: Path) -> list[Path]:
    """Write the plots that the choices and the store allow; return their files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {name: PLOTS[name].draw(groups) for name in possible(groups)}
    labels = {choice.label for choice in groups[EVERY]}
    if found := [effect for effect in effects(read(store)) if effect.label in labels]:
        figures["refinement"] = refinement(found)
    written = []
    for name, figure in figures.items():
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1])
    return written
