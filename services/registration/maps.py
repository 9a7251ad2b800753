"""Maps of a transform folded over blocks: histograms that add up to the whole's, and folds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box

from .port import Triple
from .sampling import Floats
from .transform import Transform
from .warp import centres, difference

STRETCH_EDGES = np.linspace(0.0, 3.0, 301)  # of det J over det A; below the first edge: folds
ERROR_EDGES = np.arange(0.0, 2001.0, 2.0)  # nm


class Histogram(NamedTuple):
    """Counts (bins,) between ``edges``, of values below and above them, and of NaN.

    ``folds`` counts values of 0 or less, ``least`` and ``most`` are those seen (infinite: none).
    """

    edges: Floats
    counts: NDArray[np.int64]
    below: int
    above: int
    unknown: int
    folds: int
    least: float
    most: float

    @property
    def known(self) -> int:
        """How many values are no NaN."""
        return int(self.counts.sum()) + self.below + self.above

    def quantile(self, share: float) -> float:
        """Return a quantile, exact to the width of its bin; NaN of nothing."""
        if not self.known:
            return float("nan")
        upto = np.cumsum([self.below, *self.counts, self.above])
        bin_ = int(np.searchsorted(upto, share * upto[-1]))
        if bin_ == 0:
            return self.least
        return (
            self.most if bin_ > len(self.counts) else float(self.edges[bin_ - 1 : bin_ + 1].mean())
        )


def counted(values: NDArray[np.floating], edges: Floats) -> Histogram:
    """Return the histogram of a block; bins hold their lower edge, the last one both."""
    flat = np.asarray(values, np.float64).ravel()
    known = flat[~np.isnan(flat)]
    counts = np.histogram(known, edges)[0].astype(np.int64)
    return Histogram(
        edges, counts, int((known < edges[0]).sum()), int((known > edges[-1]).sum()),
        len(flat) - len(known), int((known <= 0).sum()),
        float(known.min(initial=np.inf)), float(known.max(initial=-np.inf)),
    )  # fmt: skip


def added(a: Histogram, b: Histogram) -> Histogram:
    """Return the histogram of two parts of a volume; raise WrongUse where edges differ."""
    if not np.array_equal(a.edges, b.edges):
        raise WrongUse("histograms of different bins: expected the same edges")
    return Histogram(
        a.edges, a.counts + b.counts, a.below + b.below, a.above + b.above,
        a.unknown + b.unknown, a.folds + b.folds, min(a.least, b.least), max(a.most, b.most),
    )  # fmt: skip


def difference_map(
    a: Transform, b: Transform, grid: tuple[Triple, Triple], box: Box
) -> NDArray[np.float32]:
    """Return how far apart two transforms into the same image send a block's voxels, nm.

    ``box.shape`` float32; NaN where either ends.  ``grid`` is voxel size and corner in nm.  Such
    as the transforms made of PALM and of SIM images of one cell (Heinrich et al. 2021, ED Fig. 11).
    """
    points = centres(grid, box).reshape(-1, 3)
    return np.asarray(difference(a, b, points).reshape(box.shape), np.float32)
