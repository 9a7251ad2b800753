"""Plots of scores, after Fig. 2 and Extended Data Figs 3, 4, 5 and 11a of the paper.

matplotlib is imported where it is used: whoever plots nothing does not need it.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..charts import COLOURS, new_figure
from .refinement import COMPARED, Effect
from .selection import DICE, DISTANCE, Selection, mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = {DICE: "F1 score (Dice)", DISTANCE: "mean false distance (nm)"}
WAYS = {"validation": "chosen on the crop itself", "test": "chosen on the other crops"}
HEIGHT = 4.2  # inches
EVERY = "all setups"  # the group that is always there
Groups = Mapping[str, Sequence[Selection]]
Figure = Any


def by_class(groups: Groups) -> Figure:
    """Plot the F1 score of each class: validation and test, a dot for each crop and the mean."""
    rows = [s for s in groups[EVERY] if s.metric == DICE]
    series = {text: [s for s in rows if s.way == way] for way, text in WAYS.items()}
    return _dots(series, "Networks chosen by F1 score")


def compared(groups: Groups) -> Figure:
    """Plot the F1 score of each class for each group of setups, as tests."""
    series = {
        name: [s for s in each if (s.way, s.metric) == ("test", DICE)]
        for name, each in groups.items()
        if name != EVERY
    }
    return _dots(series, "Groups of setups, chosen on the other crops")


def manual(groups: Groups) -> Figure:
    """Plot what experts' choices score against automatic ones, crop by crop."""
    one, two = _by_place(groups, "test", DICE), _by_place(groups, "manual", "")
    ways = "chosen automatically, on the other crops", "chosen by hand"
    return _pairs(one, two, ways, "Manual against automatic choice")


def selectors(groups: Groups) -> Figure:
    """Plot what choosing by distance scores against choosing by F1 score, crop by crop."""
    one, two = (_by_place(groups, "test", metric) for metric in (DICE, DISTANCE))
    ways = "chosen by F1 score", "chosen by mean false distance"
    return _pairs(one, two, ways, "What networks are chosen by")


class Plot(NamedTuple):
    """How a plot is drawn, and of which ways and metrics it shows choices."""

    draw: Callable[[Groups], Figure]
    needs: Collection[tuple[str, str]]
    compares: bool = False  # groups of setups, beside all of them


TESTED = ("test", DICE)
PLOTS: Mapping[str, Plot] = {
    "classes": Plot(by_class, [("validation", DICE)]),
    "groups": Plot(compared, [TESTED], compares=True),
    "manual": Plot(manual, [TESTED, ("manual", "")]),
    "selectors": Plot(selectors, [TESTED, ("test", DISTANCE)]),
}


def possible(groups: Groups) -> list[str]:
    """Return the names of the plots for which there are choices; a test needs two crops."""
    kinds = {(s.way, s.metric) for s in groups[EVERY]}
    return [
        name for name, plot in PLOTS.items()
        if kinds.issuperset(plot.needs) and (len(groups) > 1 or not plot.compares)
    ]  # fmt: skip


def refinement(effects: Sequence[Effect]) -> Figure:
    """Plot each metric of segmentations against that of their predictions, crop by crop."""
    figure, panels = new_figure((12.5, HEIGHT), len(COMPARED))
    labels = sorted({effect.label for effect in effects})
    for axes, (metric, text) in zip(panels, COMPARED.items(), strict=True):
        for n, label in enumerate(labels):
            points = [(e.before[metric], e.after[metric]) for e in effects if e.label == label]
            axes.plot(*zip(*points, strict=True), **_mark(n), label=label)
        _equal(axes, 1.0)
        axes.set_title(text, fontsize=10)
        axes.set_xlabel("prediction at its threshold")
        axes.set_ylabel("refined")
    panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(f"What refinement changes, n {len(effects)}")
    return figure


def _mark(number: int) -> dict[str, Any]:
    """Return how the points of a class look."""
    marker = "osD^v"[number // len(COLOURS) % 5]
    colour = COLOURS[number % len(COLOURS)]
    return {"linestyle": "", "marker": marker, "color": colour, "alpha": 0.8}


def _equal(axes: "Axes", most: float) -> None:
    """Draw the line on which both axes have the same value."""
    axes.plot([0, most], [0, most], color="#888888", linewidth=0.8, zorder=0)
    axes.set_aspect("equal")


def _by_place(groups: Groups, way: str, metric: str) -> dict[tuple[str, str], Selection]:
    found = (s for s in groups[EVERY] if (s.way, s.metric) == (way, metric))
    return {(s.label, s.crop): s for s in found}


def _dots(series: Mapping[str, Sequence[Selection]], title: str) -> Figure:
    labels = sorted({s.label for rows in series.values() for s in rows})
    figure, (axes,) = new_figure((3.6 + 1.1 * len(labels), HEIGHT), 1)
    width = 0.8 / max(len(series), 1)
    for n, (name, rows) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        for at, label in enumerate(labels):
            values = [s.scored[DICE] for s in rows if s.label == label and DICE in s.scored]
            x = at + (n + 0.5) * width - 0.4
            if values:
                axes.bar(x, mean(values), 0.9 * width, color=colour, alpha=0.35)
                axes.plot([x] * len(values), values, "o", color=colour, markersize=4)
                axes.annotate(f"n {len(values)}", (x, 0.02), ha="center", fontsize=7)
        axes.bar(0, 0, color=colour, label=name)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(SHOWN[DICE])
    axes.set_ylim(0, 1.03)
    axes.set_title(title)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _pairs(
    one: Mapping[tuple[str, str], Selection], two: Mapping[tuple[str, str], Selection],
    ways: tuple[str, str], title: str,
) -> Figure:  # fmt: skip
    """Plot both metrics of two choices for the same crop, with the line where they are equal."""
    figure, panels = new_figure((9.5, HEIGHT), 2)
    places = [place for place in one if place in two]
    labels = sorted({label for label, _ in places})
    for axes, metric in zip(panels, (DICE, DISTANCE), strict=True):
        most = 1.0 if metric == DICE else 0.0
        for n, label in enumerate(labels):
            points = [
                tuple(s.scored.get(metric, math.nan) for s in (one[p], two[p]))
                for p in places
                if p[0] == label
            ]
            axes.plot(*zip(*points, strict=True), **_mark(n), label=label)
            most = max([most, *(v for point in points for v in point if not math.isnan(v))])
        _equal(axes, most)
        axes.set_title(SHOWN[metric], fontsize=10)
        axes.set_xlabel(ways[0])
        axes.set_ylabel(ways[1])
    panels[1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(f"{title}, n {len(places)}")
    return figure
