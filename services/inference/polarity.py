"""Whether a volume is as dark where a network finds edges as its training data were.

Grey values of two volumes differ by stain and detector. What is compared is free of both: how far
the edges of predicted objects are darker than the mean, in standard deviations of all voxels.
Membranes are what a network finds edges at, so that of a volume whose membranes are bright, seen
without inversion, the edges are elsewhere. Of three FIB-SEM volumes (EPFL CA1, FlyEM medulla and
defects, with its empty areas declared), as they are and stretched by percentiles, it was 0.96 to
1.8 times that of the training data of the first ``mito``; of the same inverted 0.17 to 0.69. Small
samples scatter more: of 300 draws of four tiles from each, none was told wrongly, and 0.3, 31 and
83 % of the inverted ones were missed (medulla, CA1, defects). The second ``mito`` finds hardly
any edge in inverted ones of the medulla and the defects, and as dark ones. No word is no proof.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from .port import GreyLevels

LEVEL = 127  # from here on a predicted voxel is inside
LEAST_EDGES = 500  # voxels: fewer say nothing
# Of the voxels where a network is tried: fewer are of single bodies, which any polarity may have.
# Of the medulla's sample it is 0.75 %, inverted 0.05 %; of CA1, 4 % mitochondria, 0.73 %.
LEAST_SHARE = 1 / 400
LEAST_CONTRAST = 0.5  # standard deviations: a class whose edges are as all voxels says nothing
ALIKE = 0.8  # of the contrast of the training data: from here on edges are as in training


class EdgeSums:
    """Sums over grey values of blocks, and over those at edges of each predicted class."""

    def __init__(self, classes: Iterable[str]) -> None:
        self._all = [0, 0, 0]  # voxels, their sum, the sum of their squares
        self._edges = {name: [0, 0] for name in classes}

    def add(self, grey: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
        """Take a block: grey values as the network saw them, (z, y, x), and what it predicted.

        ``found`` is ``(classes, z, y, x)``, with whole multiples of the edges of ``grey`` where the
        network is finer than its input. An edge is a voxel inside with a neighbour of the block,
        across a face, that is not.
        """
        from scipy import ndimage  # an installation of ingest alone has none, and tries nothing

        for axis, edge in enumerate(found.shape[1:]):
            if edge > grey.shape[axis]:
                grey = np.repeat(grey, edge // grey.shape[axis], axis)
        wide = grey.astype(np.int64)
        for k, total in enumerate((wide.size, wide.sum(), (wide * wide).sum())):
            self._all[k] += int(total)
        for sums, prediction in zip(self._edges.values(), found, strict=True):
            inside = prediction >= LEVEL
            edge = inside & ~ndimage.binary_erosion(inside, border_value=1)
            sums[0] += int(edge.sum())
            sums[1] += int(wide[edge].sum())

    def levels(self, least_share: float = 0.0) -> GreyLevels | None:
        """Return the levels of all blocks; None where they have no contrast or hardly an edge.

        A class counts with at least that share of the voxels at its edges.
        """
        voxels, total, squares = self._all
        least = max(LEAST_EDGES, least_share * voxels)
        edges = {n: s / count for n, (count, s) in self._edges.items() if count >= least}
        if not edges or voxels * squares <= total * total:
            return None
        deviation = (voxels * squares - total * total) ** 0.5 / voxels
        return GreyLevels(mean=total / voxels, deviation=deviation, edges=edges)


def likeness(found: GreyLevels | None, trained: GreyLevels) -> float | None:
    """Return the contrast of edges as a share of that in training: 1 is alike, 0 no contrast.

    The mean of the classes that say something, those of a clear contrast in training; None where
    there are none.
    """
    shares = [
        contrast / expected
        for name, expected in _contrasts(trained).items()
        if abs(expected) >= LEAST_CONTRAST
        and found is not None
        and (contrast := _contrasts(found).get(name)) is not None
    ]
    return sum(shares) / len(shares) if shares else None


def seems_inverted(given: float | None, inverted: float | None) -> bool:
    """Whether a volume is like the training data only when it is inverted, by its likenesses."""
    return (given is None or given < ALIKE) and inverted is not None and inverted >= ALIKE


def _contrasts(levels: GreyLevels) -> Mapping[str, float]:
    return {n: (levels.mean - edge) / levels.deviation for n, edge in levels.edges.items()}
