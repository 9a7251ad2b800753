"""Layers of chunks, which land together: all chunks of one index in z."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product

from fibstream.core.errors import LimitExceeded
from fibstream.core.grid import Grid, Index

from .stability import FileState


@dataclass(frozen=True, slots=True)
class Layer:
    """Planes ``[start, stop)`` of the volume, which make all chunks of one index in z."""

    index: int
    start: int
    stop: int
    files: tuple[FileState, ...]  # that hold it; of slices: one for each z
    absent: bool = False


class LandedLayers:
    """Layers that are in the store, and the files they were read from.

    Layers of ``before`` landed in an earlier run. The state of their files at that time is not
    known, so it is taken to be the first state that this run finds.
    """

    def __init__(self, before: Collection[int] = ()) -> None:
        self._layers = set(before)
        self._once = set(before)
        self._content: dict[tuple[int, str], FileState] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._layers

    def landed_once(self, index: int) -> bool:
        """Whether a layer has landed at some time, though it may have to land again."""
        return index in self._once

    @property
    def top(self) -> int:
        """One more than the largest layer that has landed."""
        return max(self._layers, default=-1) + 1

    def add(self, layer: Layer) -> None:
        """Record a layer that is in the store."""
        self._layers.add(layer.index)
        self._once.add(layer.index)
        self._content |= {(layer.index, file.name): file for file in layer.files}

    def forget(self, layer: Layer) -> None:
        """Forget the files of a layer, which then stays as it landed."""
        for file in layer.files:
            self._content.pop((layer.index, file.name), None)

    def compare(self, file: FileState, index: int) -> None:
        """Compare a stable file of a layer with what landed: if they differ, it lands again."""
        if index in self and self._content.setdefault((index, file.name), file) != file:
            self._layers.discard(index)


def row_bands(shape: tuple[int, int], chunk: Index, itemsize: int, limit: int) -> Iterator[range]:
    """Yield the rows of chunks that are read together: all of them if a layer fits the limit.

    Parameters
    ----------
    shape : tuple of int
        (y, x) of a plane in voxels.
    chunk : tuple of int
        (z, y, x) of a chunk in voxels.
    itemsize : int
        Bytes of a voxel.
    limit : int
        Bytes of the voxels that are read together.

    Raises
    ------
    LimitExceeded
        If one row of chunks exceeds the limit.
    """
    depth, edge, _ = chunk
    rows = -(-shape[0] // edge)
    row_bytes = depth * min(edge, shape[0]) * shape[1] * itemsize
    together = limit // row_bytes
    if not together:
        raise LimitExceeded(
            f"a row of chunks of {depth} x {edge} x {shape[1]} voxels takes {row_bytes} bytes; "
            f"the limit is {limit}: give a larger one, or make smaller chunks"
        )
    for start in range(0, rows, together):
        yield range(start, min(start + together, rows))


def chunks_of_band(
    layer: Layer, band: range, shape: tuple[int, int], chunk: Index
) -> Iterator[tuple[Index, tuple[slice, slice, slice]]]:
    """Yield the chunks of a layer in a band, and where each lies in the voxels of the band."""
    grid = Grid((layer.stop, *shape), chunk)
    for y, x in product(band, range(grid.count[2])):
        index = (layer.index, y, x)
        yield index, grid.box(index).slices((layer.start, band.start * chunk[1], 0))
