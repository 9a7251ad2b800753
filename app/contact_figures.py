"""Pictures of contacts: how much there is, against chance."""

from collections.abc import Mapping

import pyarrow as pa

from .figures import COLOURS, Figure, new_figure

BINS = 30  # of a histogram of placements
NM2 = 1e6  # nm2 of a table in one µm² of a picture
CHANCE, OBSERVED = COLOURS[0], COLOURS[5]


def against_chance(found: pa.Table, placements: pa.Table, sides: Mapping[str, str]) -> Figure:
    """Plot what random placements have, and what was observed, for each measure.

    ``found`` and ``placements`` are those of `services.analysis.null`; ``sides`` what ``a`` and
    ``b`` are called.
    """
    rows = found.to_pylist()
    figure, panels = new_figure(3.2 * len(rows), len(rows), 3.4)
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
