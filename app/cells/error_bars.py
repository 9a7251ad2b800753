"""The figure of sensitivity: how far each total moves with the threshold."""

from collections.abc import Sequence

from ..charts import COLOURS, Figure, new_figure, rows_of_names
from .plots import height_of
from .shifts import AS_IT_IS, FIGURES
from .totals import Row

TEXT = {
    "objects": "objects", "volume_nm3": "total volume", "crofton_area_nm2": "total area",
    "mean_volume_nm3": "mean volume", "mean_crofton_area_nm2": "mean area",
}  # fmt: skip
# Below one another: the wider bar, of nm, above the narrower one.
KINDS = {"nm": (COLOURS[4], -0.16, "threshold ± 4 nm"),
         "grey level": (COLOURS[0], 0.16, "threshold ± 1 grey level")}  # fmt: skip


def changes(rows: Sequence[Row], organelle: str, kind: str, figure: str) -> list[float]:
    """Return by how many per cent a figure changes with each shift of a kind."""
    mine = [row for row in rows if row["organelle"] == organelle]
    (own,) = [row[figure] for row in mine if row["shift"] == AS_IT_IS]
    values = [row[figure] for row in mine if row["shift"].endswith(f" {kind}")]
    return [100 * (v / own - 1) for v in values if v is not None] if own else []


def error_bars(rows: Sequence[Row], dataset: str) -> Figure:
    """Plot the change of each figure of each organelle, rows with the columns of `shifts.SHIFTS`.

    A bar runs from the lower to the higher threshold, over what is measured as it is.
    """
    names = list(dict.fromkeys(row["organelle"] for row in rows))
    figure, axes = new_figure((13.5, height_of(len(names), 2)), len(FIGURES), shared=True)
    for panel, measured in zip(axes, FIGURES, strict=True):
        for kind, (colour, shift, _) in KINDS.items():
            for at, name in enumerate(names):
                found = changes(rows, name, kind, measured)
                panel.plot(found, [at + shift] * len(found), "|", color=colour, markersize=7)
                panel.plot([min([0.0, *found]), max([0.0, *found])], [at + shift] * 2,
                           color=colour, linewidth=2.5, solid_capstyle="butt")  # fmt: skip
        panel.axvline(0, color="#888888", linewidth=0.8, zorder=0)
        rows_of_names(panel, names)
        panel.set_xlabel(f"{TEXT[measured]}, change in %")
    for colour, _, text in KINDS.values():
        axes[-1].plot([], [], color=colour, linewidth=2.5, label=text)
    axes[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.suptitle(f"{dataset}: change with the threshold", fontsize=11)
    return figure
