"""The work of `fibstream compare`: datasets opened, what is told of them, tables and figures."""

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from fibstream.app.cells.comparison import (
    DISTRIBUTION_SCHEMA,
    EFFECTS_SCHEMA,
    Groups,
    distributions,
    effects,
    notes,
)
from fibstream.app.cells.plots import effect_dots, object_boxes, ordered, relative_volumes
from fibstream.app.cells.specimen import Specimen, open_specimen
from fibstream.app.cells.totals import SCHEMA, Row, totals
from fibstream.app.charts import as_png
from fibstream.core.dataset import RECORD
from fibstream.core.echo import cut, listed
from fibstream.core.errors import WrongUse
from fibstream.runtime.checks import check_folder
from fibstream.services.analysis.table import to_parquet

from .outputs import write_file
from .progress import track

MAX_DATASETS = 100  # beyond it no figure is readable

log = logging.getLogger(__name__)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return what datasets are called: each by its folder, or by its path where that is another's.

    Raises WrongUse for too many, or one that is given twice.
    """
    if len(paths) > MAX_DATASETS:
        raise WrongUse(f"compare: {len(paths)} datasets; expected at most {MAX_DATASETS}")
    real = [path.resolve() for path in paths]
    for path, where in zip(paths, real, strict=True):
        if real.count(where) > 1:
            raise WrongUse(f"{cut(str(path))}: is given twice; expected each dataset once")
    stems = [path.resolve().stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else str(path)
        for path, stem in zip(paths, stems, strict=True)
    ]


def check_out(out: Path, read: Sequence[Path]) -> None:
    """Raise WrongUse for a folder that cannot be written, is read, or belongs to a dataset."""
    check_folder(out, "--out")
    here = out.resolve()
    if any((folder / RECORD).is_file() for folder in (here, *here.parents)):
        raise WrongUse(f"--out {out}: lies in a dataset of fibstream run; expected another folder")
    if here in [path.resolve() for path in read]:
        raise WrongUse(f"--out {out}: is read, and files of it could be replaced; expected another")


def compare(
    paths: Sequence[Path], out: Path, *, within: str | None, groups: Sequence[str] = ()
) -> list[Path]:
    """Write tables and figures of datasets into a folder; return the files.

    What else differs between them is told, a line for each.
    """
    check_out(out, paths)
    names = names_of(paths)
    chosen = parse_groups(groups, names)
    specimens = [
        open_specimen(path, name, within=within, track=track)
        for path, name in zip(paths, names, strict=True)
    ]
    rows = [row for s in specimens for row in totals(s.name, s.tables, s.reference)]
    table = pa.Table.from_pylist(rows, SCHEMA)
    files = {**both("organelles", table), "organelles.png": as_png(relative_volumes(rows))}
    for each in specimens:
        if each.reference is None:
            log.warning("%s: tables alone state no volume: no relative volume is known; give "
                        "--within", each.name)  # fmt: skip
        elif not each.reference.volume_nm3:
            log.warning("%s: %s is empty: no relative volume is known", each.name,
                        each.reference.name)  # fmt: skip
    if len(specimens) > 1:
        for note in notes(specimens):
            log.warning("not the same: %s", note)
        files |= _side_by_side(specimens, rows, chosen)
    return write_all(out, files)


def _side_by_side(
    specimens: Sequence[Specimen], rows: Sequence[Row], groups: Groups
) -> dict[str, bytes]:
    """Return what only several datasets have: distributions, effects, and their figures."""
    spread, found = distributions(specimens), effects(specimens, rows, groups)
    names = ordered(rows)
    files = {
        **both("objects", pa.Table.from_pylist(spread, DISTRIBUTION_SCHEMA)),
        **both("effects", pa.Table.from_pylist(found, EFFECTS_SCHEMA)),
        "objects.png": as_png(object_boxes(spread, names)),
    }
    if any(row.get("cliffs_delta") is not None for row in found):
        files["effects.png"] = as_png(effect_dots(found, names))
    else:
        log.warning("effects.png: one value a side has no effect size; nothing is drawn")
    return files


def both(name: str, table: pa.Table) -> dict[str, bytes]:
    """Return a table as CSV and as Parquet."""
    import pyarrow.csv as pa_csv

    sink = io.BytesIO()
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(quoting_style="needed"))
    return {f"{name}.csv": sink.getvalue(), f"{name}.parquet": to_parquet(table, {})}


def write_all(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder, each whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        write_file(folder / name, data)
    return [folder / name for name in files]


def parse_groups(texts: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return the datasets of each ``--group NAME=DATASET,DATASET``, every dataset in one group."""
    found: dict[str, list[str]] = {}
    for text in texts:
        group, equals, listed_ = text.partition("=")
        members = listed_.split(",")
        taken = [m for each in found.values() for m in each] + members
        if (not group or not equals or group in found or not set(members) <= set(names)
                or len(set(taken)) < len(taken)):  # fmt: skip
            raise WrongUse(
                f"--group {cut(text)}: expected NAME=DATASET,DATASET, of {listed(names)}, each "
                "in one group"
            )
        found[group] = members
    if len(found) == 1:
        raise WrongUse(f"--group {cut(texts[0])}: is alone; expected two groups at least")
    if (left := sorted(set(names) - {m for each in found.values() for m in each})) and found:
        raise WrongUse(f"--group: {listed(left)} is in none; expected each dataset in one")
    return found
