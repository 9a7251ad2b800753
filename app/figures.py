"""What all plots share: colours that are apart for all eyes, and figures without a window.

matplotlib is imported where it is used: whoever plots nothing does not need it.
"""

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of Okabe and Ito: apart for all eyes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
HEIGHT = 4.2  # inches
Figure = Any


def new_figure(width: float, panels: int, height: float = HEIGHT) -> tuple[Figure, list["Axes"]]:
    """Return a figure, in inches, and its panels beside one another."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(figsize=(width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, panels, n + 1) for n in range(panels)]


def as_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
