"""Figures of organelles in several datasets: a row for each organelle, a colour for each dataset.

Their axes are logarithmic, since organelles differ by orders of magnitude.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..charts import COLOURS, Figure, look, new_figure, rows_of_names, spread
from .comparison import OF_OBJECTS
from .totals import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.28  # inches of an organelle, and of each dataset in it
AXES = {
    "volume_nm3": "volume of an object (nm³)", "crofton_area_nm2": "area of an object (nm²)",
    "sphericity": "sphericity",
}  # fmt: skip
DELTA_OF = {
    "objects": {"volume_nm3": "volume", "crofton_area_nm2": "area", "sphericity": "sphericity"},
    "datasets": {
        "objects_per_um3": "objects in a µm³", "relative_volume": "relative volume",
        "median volume_nm3": "median volume", "median sphericity": "median sphericity",
    },
}  # fmt: skip
LEGEND_ROWS = 40  # datasets beyond which a legend has two columns


def relative_volumes(rows: Sequence[Row]) -> Figure:
    """Plot the relative volume and the density of each organelle, rows as of `totals.totals`.

    Where no reference is known, volumes and counts are plotted.
    """
    names, datasets = ordered(rows), list(dict.fromkeys(row["dataset"] for row in rows))
    known = any(row["relative_volume"] is not None for row in rows)
    panels = (
        {"relative_volume": f"relative volume ({_to(rows)})", "objects_per_um3": "objects per µm³"}
        if known else {"volume_nm3": "volume of all objects (nm³)", "objects": "objects"}
    )  # fmt: skip
    figure, axes = new_figure((9.5, height_of(len(names), len(datasets))), len(panels), shared=True)
    for panel, (column, text) in zip(axes, panels.items(), strict=True):
        for number, dataset in enumerate(datasets):
            _dots(panel, [r for r in rows if r["dataset"] == dataset], column, names, number,
                  spread(len(datasets))[number])  # fmt: skip
        rows_of_names(panel, names)
        _log(panel)
        panel.set_xlabel(text)
    if len(datasets) > 1:
        legend(axes[-1], datasets)
    figure.suptitle(
        "Organelles" + (f" of {datasets[0]}" if len(datasets) == 1 else ""), fontsize=11
    )
    return figure


def ordered(rows: Sequence[Row]) -> list[str]:
    """Return organelles, that of the largest volume in a dataset first."""
    most: dict[str, tuple[float, float]] = {}
    for row in rows:
        size = row["relative_volume"] or 0.0, row["volume_nm3"]
        most[row["organelle"]] = max(most.get(row["organelle"], size), size)
    return sorted(most, key=lambda name: (*(-size for size in most[name]), name))


def height_of(organelles: int, datasets: int) -> float:
    """Return the height of a figure in inches."""
    return 1.3 + organelles * ROW * max(1.0, 0.55 * datasets)


def legend(axes: "Axes", datasets: Sequence[str], *, start: int = 0) -> None:
    """Name the datasets beside a panel."""
    for number, dataset in enumerate(datasets, start):
        axes.plot([], [], linestyle="", label=dataset, **look(number))
    axes.legend(
        fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False,
        ncols=1 + len(datasets) // LEGEND_ROWS,
    )  # fmt: skip


def _to(rows: Sequence[Row]) -> str:
    """Return what volumes and counts relate to."""
    names = sorted({row["reference"] for row in rows})
    return names[0] if len(names) == 1 else "references differ"


def _dots(
    axes: "Axes", rows: Sequence[Row], column: str, names: Sequence[str], number: int, shift: float
) -> None:
    """Plot a value for each organelle; what is 0, or not known, has no dot."""
    found = [(row[column], names.index(row["organelle"]) + shift) for row in rows if row[column]]
    if found:
        values, places = zip(*found, strict=True)
        axes.plot(values, places, linestyle="", markersize=5, **look(number))


def _log(axes: "Axes") -> None:
    axes.set_xscale("log")
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)


def object_boxes(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """Plot quantiles of what objects measure, rows as of `comparison.distributions`.

    Boxes are from the quartiles, with the median in them, and whiskers from the twentieths.
    """
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    size = 12.5, height_of(len(names), len(datasets))
    figure, axes = new_figure(size, len(OF_OBJECTS), shared=True)
    for panel, measure in zip(axes, OF_OBJECTS, strict=True):
        for number, (dataset, shift) in enumerate(
            zip(datasets, spread(len(datasets)), strict=True)
        ):
            mine = [r for r in rows if (r["dataset"], r["measure"]) == (dataset, measure)]
            for row in mine:
                if row["whole_objects"]:
                    at = names.index(row["organelle"]) + shift
                    _box(panel, row, at, 0.6 / len(datasets), number)
        rows_of_names(panel, names)
        if measure == "sphericity":
            # By Crofton's formula small objects have less area than a ball, and so more than 1.
            longest = (max(r["q95"], r["median"]) for r in rows
                       if r["measure"] == measure and r["whole_objects"])  # fmt: skip
            panel.set_xlim(0, 1.02 * max([1.0, *longest]))
        else:
            _log(panel)
        panel.set_xlabel(AXES[measure])
    legend(axes[-1], datasets)
    figure.suptitle("Objects that the border does not cut", fontsize=11)
    return figure


def _box(axes: "Axes", row: Row, at: float, height: float, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    axes.plot([row["q05"], row["q95"]], [at, at], color=colour, linewidth=1)
    axes.fill_between(
        [row["q25"], row["q75"]], at - height / 2, at + height / 2, color=colour, alpha=0.35,
        linewidth=0,
    )  # fmt: skip
    axes.plot([row["median"]], [at], linestyle="", markersize=4, **look(number))


def effect_dots(rows: Sequence[Row], names: Sequence[str]) -> Figure:
    """Plot Cliff's delta of each organelle to the first dataset or group.

    Rows are as of `comparison.effects`: of objects where there are, else of datasets.
    """
    level = "objects" if any(row["level"] == "objects" for row in rows) else "datasets"
    panels = DELTA_OF[level]
    chosen = [row for row in rows if row["level"] == level]
    first, others = rows[0]["a"], list(dict.fromkeys(row["b"] for row in rows))
    size = 12.5, height_of(len(names), len(others))
    figure, axes = new_figure(size, len(panels), shared=True)
    for panel, (measure, text) in zip(axes, panels.items(), strict=True):
        for number, (name, shift) in enumerate(zip(others, spread(len(others)), strict=True)):
            found = [
                (row["cliffs_delta"], names.index(row["organelle"]) + shift)
                for row in chosen
                if (row["b"], row["measure"]) == (name, measure)
                and row.get("cliffs_delta") is not None
            ]
            for delta, at in found:
                mark = look(number + 1)  # the first has the colour that it has elsewhere
                panel.plot([0, delta], [at, at], color=mark["color"], linewidth=1)
                panel.plot([delta], [at], linestyle="", markersize=5, **mark)
        panel.axvline(0, color="#888888", linewidth=0.8, zorder=0)
        rows_of_names(panel, names)
        panel.set_xlim(-1.05, 1.05)
        panel.set_xlabel(text)
    legend(axes[-1], others, start=1)
    of = "whole objects, which are no independent samples" if level == "objects" else "datasets"
    figure.suptitle(f"Cliff's delta to {first}, of {of}: 1 where all are larger", fontsize=11)
    return figure
