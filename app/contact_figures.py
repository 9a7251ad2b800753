"""Pictures of contacts: their matrix, the gaps in them, and how much there is against chance."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .charts import COLOURS, Figure, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 30  # of a histogram
MOST = 20  # objects of each side of a matrix: more numbers nobody reads
LONGEST = 10**6  # an id of more digits does not fit beside a matrix
NM2 = 1e6  # nm2 of a table in one µm² of a picture
CHANCE, OBSERVED = COLOURS[0], COLOURS[5]


def against_chance(found: pa.Table, placements: pa.Table, sides: Mapping[str, str]) -> Figure:
    """Plot what random placements have, and what was observed, for each measure.

    ``found`` and ``placements`` are those of `services.analysis.null`; ``sides`` what ``a`` and
    ``b`` are called.
    """
    rows = found.to_pylist()
    figure, panels = new_figure((3.2 * len(rows), 3.4), len(rows))
    for axes, row in zip(panels, rows, strict=True):
        text, scale = _axis(row["measure"], sides)
        values = placements[row["measure"]].to_numpy() / scale
        observed = row["observed"] / scale
        axes.hist(values, BINS, color=CHANCE, alpha=0.75, label="placed at random")
        axes.axvspan(
            row["null_low"] / scale, row["null_high"] / scale, color=CHANCE, alpha=0.15,
            label="95 % of them", linewidth=0,
        )  # fmt: skip
        axes.axvline(observed, color=OBSERVED, linewidth=2, label="observed")
        times = "" if row["ratio"] is None else f"{row['ratio']:.2g} times the mean, "
        axes.set_title(f"{times}p {row['p_more']:.2g}", fontsize=9)
        axes.set_xlabel(text)
        axes.set_ylim(top=axes.get_ylim()[1] * 1.1)
    panels[0].set_ylabel("placements")
    panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    names = " and ".join(dict.fromkeys(sides.values()))
    figure.suptitle(
        f"Contact of {names} against chance, {placements.num_rows} placements", fontsize=11
    )
    return figure


def _axis(measure: str, sides: Mapping[str, str]) -> tuple[str, float]:
    """Return the text of an axis and how many units of the table one of it has."""
    name, *rest = measure.split("_")
    of = f" of {sides[rest[0]]}" if rest and rest[0] in sides else ""
    texts = {
        "area": (f"area{of} in contact (µm²)", NM2), "share": (f"share{of} in contact", 1.0),
        "contacts": ("contacts", 1.0),
    }  # fmt: skip
    return texts[name]


def matrix(pairs: pa.Table, sides: tuple[str, str]) -> Figure:
    """Plot the contact matrix of two organelles: a shade and a number for each two in contact.

    ``pairs`` is that of `services.analysis.sites.pair_table`, with a row at least. Of each side the
    `MOST` objects with the most area in contact are shown, the one with the most first.
    """
    area = {(row["id_a"], row["id_b"]): (row["area_a_nm2"] + row["area_b_nm2"]) / NM2
            for row in pairs.to_pylist()}  # fmt: skip
    sums: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for ids, value in area.items():
        for id_, of in zip(ids, sums, strict=True):
            of[id_] = of.get(id_, 0.0) + value
    rows, columns = (sorted(of, key=lambda i, of=of: (-of[i], i))[:MOST] for of in sums)  # type: ignore[misc]
    values = np.array([[area.get((a, b), np.nan) for b in columns] for a in rows])
    figure, (axes,) = new_figure((3.6 + 0.62 * len(columns), 2.4 + 0.42 * len(rows)), 1)
    _shade(figure, axes, values)
    axes.set_xticks(range(len(columns)), _names(columns), rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), _names(rows), fontsize=8)
    axes.set_xlabel(f"{sides[1]}: {len(columns)} of {len(sums[1])}")
    axes.set_ylabel(f"{sides[0]}: {len(rows)} of {len(sums[0])}")
    figure.suptitle("Objects in contact", fontsize=11)
    return figure


def _shade(figure: Figure, axes: "Axes", values: NDArray[np.float64]) -> None:
    most = float(np.nanmax(values)) or 1.0
    shown = axes.imshow(values, cmap="cividis", vmin=0, vmax=most, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "black" if value > 0.6 * most else "white"
            axes.text(x, y, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(shown, label="area of both sides (µm²)")


def _names(ids: Sequence[int]) -> list[str]:
    """Return ids, or where these are long the places of objects in the order of their area."""
    short = max(ids) < LONGEST
    return [str(i) if short else f"no. {rank}" for rank, i in enumerate(ids, 1)]


def gaps(table: pa.Table) -> Figure:
    """Plot how many boundary voxels have each distance to the other side.

    ``table`` is that of `services.analysis.sites.gap_table`, with a row at least.
    """
    figure, (axes,) = new_figure((5.2, 3.4), 1)
    lengths, voxels = table["gap_nm"].to_numpy(), table["voxels"].to_numpy()
    axes.hist(lengths, BINS, range=(0, lengths.max() * 1.02 + 1), weights=voxels, color=COLOURS[0])
    axes.set_xlabel("distance to the other side, between centres (nm)")
    axes.set_ylabel("boundary voxels")
    axes.set_title(f"Gaps of contacts, n {voxels.sum():,} voxels", fontsize=10)
    return figure
