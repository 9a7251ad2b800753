"""A mask of any size against the truth: distances in bounded memory, equal to those of the whole.

Squared distances are taken plane by plane into a scratch array, then across the planes of a few
rows at a time; a scratch array that is large lies in a temporary file.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.kernels.edt import across_planes, picometres, plane_squares
from fibstream.kernels.metrics import Agreement, agreement
from fibstream.kernels.near import Voxel

from ..hashes import Track, untracked

SLAB = 1 << 23  # voxels at a time: 64 MB of squares
IN_MEMORY = 1 << 27  # bytes of a scratch array; larger ones are files
SPARE = 1 << 30  # bytes of a disk that scratch files leave free

Read = Callable[[Box], NDArray[np.bool_]]


class Scratch:
    """Arrays for a while: in memory where small, else in a temporary folder that goes with them."""

    def __init__(self, most_in_memory: int = IN_MEMORY) -> None:
        self._most = most_in_memory
        self._stack = ExitStack()

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def array(self, shape: Index, dtype: Any) -> NDArray[Any]:
        """Return an array of zeros; WrongUse where the disk has no room for it."""
        size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        if size <= self._most:
            return np.zeros(shape, dtype)
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if size > free - SPARE:
            raise WrongUse(
                f"the temporary folder needs {size / 1e9:.1f} GB for distances, and has "
                f"{free / 1e9:.1f} GB: set TMPDIR to a larger disk"
            )
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fibstream-"))
        return np.memmap(Path(folder) / "scratch", dtype, "w+", shape=shape)


def compare(
    truth: Read, test: Read, shape: Index, voxel_size_nm: Voxel, *, counted: Read | None = None,
    track: Track = untracked, slab: int = SLAB, most_in_memory: int = IN_MEMORY,
) -> Agreement:  # fmt: skip
    """Return how two masks agree.

    Parameters
    ----------
    truth, test : callable
        Return a box of a mask as (z, y, x); each box is read once.
    shape : tuple of int
        (z, y, x) of what is compared, in voxels.
    voxel_size_nm : tuple of float
        Edges of a voxel, (z, y, x).
    counted : callable, optional
        Returns which voxels of a box are annotated: all others are outside of both masks, and
        nothing is said of them. A box is read twice.
    track : callable
        Shows the progress of a loop.
    slab, most_in_memory : int
        Voxels at a time, and bytes of an array that is kept in memory.

    Raises
    ------
    WrongUse
        If the volume is too long for exact distances, or its distances do not fit on the disk.
    """
    edges = picometres(voxel_size_nm, shape)
    found = Agreement()
    with Scratch(most_in_memory) as scratch:
        planes = [scratch.array(shape, np.int64) for _ in range(2)]
        for box in track(list(_slabs(shape, 0, slab)), "distances of planes"):
            inside = [read(box) for read in (truth, test)]
            if counted is not None:
                annotated = counted(box)
                inside = [mask & annotated for mask in inside]
            for into, mask in zip(planes, inside, strict=True):
                into[box.slices()] = plane_squares(mask, edges)
        for box in track(list(_slabs(shape, 1, slab)), "distances across planes"):
            one, two = (across_planes(np.asarray(each[box.slices()]), edges) for each in planes)
            found += agreement(one, two, None if counted is None else counted(box))
    return found


def _slabs(shape: Index, axis: int, voxels: int) -> Iterator[Box]:
    """Yield boxes of at most so many voxels along an axis, of whole planes of it."""
    step = max(voxels * shape[axis] // max(int(np.prod(shape, dtype=object)), 1), 1)
    for start in range(0, shape[axis], step):
        low, high = [0, 0, 0], list(shape)
        low[axis], high[axis] = start, min(start + step, shape[axis])
        yield Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
