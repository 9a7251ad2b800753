"""What all charts share: their size, panels beside one another, and colours.

matplotlib is imported where it is used: whoever draws nothing does not need it.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figure = Any
# Of Okabe and Ito: apart for all eyes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKS = "osD^vP"  # of those beyond the colours


def new_figure(
    size: tuple[float, float], panels: int, *, shared: bool = False
) -> tuple[Figure, list["Axes"]]:
    """Return a figure of some inches (width, height), and its panels from left to right.

    With ``shared`` they have the rows of the first.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(figsize=size, layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes: list[Axes] = []
    for n in range(panels):
        first = axes[0] if shared and axes else None
        axes.append(figure.add_subplot(1, panels, n + 1, sharey=first))
        if first is not None:
            axes[-1].tick_params(labelleft=False)
    return figure, axes


def as_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def rows_of_names(axes: "Axes", names: Sequence[str]) -> None:
    """Name the rows of a panel, the first at the top, with a faint line between them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for edge in range(1, len(names)):
        axes.axhline(edge - 0.5, color="#DDDDDD", linewidth=0.6, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def look(number: int) -> dict[str, Any]:
    """Return colour and marker of one of many series."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKS[number // len(COLOURS) % len(MARKS)],
    }


def spread(count: int, height: float = 0.7) -> list[float]:
    """Return where ``count`` series lie within a row of height 1, the first at the top."""
    return [height * ((n + 0.5) / count - 0.5) for n in range(count)]
