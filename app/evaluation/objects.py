"""Objects against objects of the truth: matched one to one, each match looked at in its own box."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Box, Index
from fibstream.kernels.matching import Match, match_objects, matched_scores
from fibstream.kernels.metrics import metrics
from fibstream.kernels.near import Voxel
from fibstream.kernels.pieces import Pieces
from fibstream.kernels.runs import rank
from fibstream.kernels.scores import Pairs

from ..hashes import Track, untracked
from .masks import Scratch, compare

Voxels = NDArray[Any]
ReadIds = Callable[[Box], Voxels]


class Labelled:
    """The objects of a volume of ids that comes block by block."""

    def __init__(self, read: ReadIds) -> None:
        self._read = read
        self._boxes: dict[int, Box] = {}

    def add(self, index: Index, box: Box, ids: Voxels) -> Voxels:  # noqa: ARG002
        """Take the ids of a block, 0 is background; return the numbers that are to be counted."""
        distinct, ranks = rank(ids)
        found = zip(distinct[1:].tolist(), ndimage.find_objects(ranks), strict=True)
        for number, (z, y, x) in found:
            start, stop = (z.start, y.start, x.start), (z.stop, y.stop, x.stop)
            part = _moved(Box(start, stop), box.start)
            self._boxes[number] = _union([self._boxes.get(number, part), part])
        return ids

    def name(self, number: int) -> int:
        """Return the object that a number stands for; call it when all blocks have been added."""
        return number

    def box(self, name: int) -> Box:
        """Return the box of an object."""
        return self._boxes[name]

    def inside(self, name: int, box: Box) -> NDArray[np.bool_]:
        """Return which voxels of a box are of an object."""
        mask: NDArray[np.bool_] = self._read(box) == name
        return mask


class CutMask(Labelled):
    """The connected pieces of a mask that comes block by block in raster order.

    The pieces of each block have numbers, which are kept; afterwards some are one piece.
    """

    def __init__(self, scratch: Scratch, shape: Index) -> None:
        self._numbers = scratch.array(shape, np.uint64)
        self._pieces = Pieces()
        self._names: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}
        super().__init__(lambda box: self._numbers[box.slices()])

    def add(self, index: Index, box: Box, ids: Voxels) -> Voxels:
        """Take a block, in which all but 0 is inside."""
        numbers = self._pieces.add(index, ids != 0)
        self._numbers[box.slices()] = numbers
        return super().add(index, box, numbers)

    def name(self, number: int) -> int:
        """Return the piece that a number stands for."""
        if not self._names:
            self._names = dict(self._pieces.names())
            for each, name in self._names.items():
                self._members.setdefault(name, []).append(each)
        return self._names[number]

    def box(self, name: int) -> Box:
        """Return the box of a piece."""
        return _union(self._boxes[number] for number in self._members[name])

    def inside(self, name: int, box: Box) -> NDArray[np.bool_]:
        """Return which voxels of a box are of a piece."""
        return np.isin(self._read(box), np.array(self._members[name], np.uint64))


def named(pairs: Pairs, truth: Labelled, test: Labelled) -> Pairs:
    """Return the pairs of objects of pairs of numbers."""
    found = Pairs()
    for (a, b), voxels in pairs.items():
        found[truth.name(a), test.name(b)] += voxels
    return found


def matching(
    pairs: Pairs, truth: Labelled, test: Labelled, voxel_size_nm: Voxel, track: Track = untracked
) -> dict[str, int | float]:
    """Return the scores of objects that are matched one to one.

    Parameters
    ----------
    pairs : Pairs
        Voxels of each pair of objects.
    truth, test : Labelled
        The objects.
    voxel_size_nm : tuple of float
        Edges of a voxel, (z, y, x).
    track : callable
        Shows the progress of a loop.
    """
    matches = match_objects(pairs)
    apart = [
        _hausdorff_nm(match, truth, test, voxel_size_nm)
        for match in track(matches, "objects matched")
    ]
    return matched_scores(pairs, matches, apart, voxel_size_nm)


def _hausdorff_nm(match: Match, truth: Labelled, test: Labelled, voxel_size_nm: Voxel) -> float:
    """Return the Hausdorff distance of two objects, of the box that holds both."""
    box = _union([truth.box(match.truth), test.box(match.test)])
    found = compare(
        lambda part: truth.inside(match.truth, _moved(part, box.start)),
        lambda part: test.inside(match.test, _moved(part, box.start)),
        box.shape, voxel_size_nm,
    )  # fmt: skip
    return metrics(found)["hausdorff"]


def _union(boxes: Iterable[Box]) -> Box:
    """Return the smallest box that holds all of some boxes."""
    starts, stops = zip(*boxes, strict=True)
    return Box(_index(np.min(starts, axis=0)), _index(np.max(stops, axis=0)))


def _moved(box: Box, by: Index) -> Box:
    """Return a box ``by`` voxels further."""
    start, stop = (np.add(end, by) for end in box)
    return Box(_index(start), _index(stop))


def _index(voxels: Sequence[int] | NDArray[Any]) -> Index:
    z, y, x = map(int, voxels)
    return z, y, x
