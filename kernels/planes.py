"""The block that a chunk is cut in, and the planes that it shares with its neighbours.

A block covers its chunk and one more voxel on each positive side where the volume goes on, so that
every adjacency of two voxels lies in some block. Faces are numbered z low, z high, y low, y high,
x low, x high from 0; sets of them are bits.
"""

from collections.abc import Iterator

from fibstream.core.grid import Box
from fibstream.core.stage import Patch


def extended(patch: Patch, core: Box) -> tuple[Box, int]:
    """Return the block of the chunk ``core``, and its faces on the border of the volume, as bits.

    ``patch`` is read beyond the chunk by a voxel or more on the positive sides, cut at the volume.
    """
    stop, border = [], 0
    for axis in range(3):
        ends = patch.box.stop[axis] == core.stop[axis]
        stop.append(core.stop[axis] + (not ends))
        border |= ((core.start[axis] == 0) | ends << 1) << 2 * axis
    return Box(core.start, (stop[0], stop[1], stop[2])), border


def shared_planes(block: Box, border: int) -> Iterator[tuple[int, int]]:
    """Yield axis and position of the planes that a block shares with a neighbour."""
    for face in range(6):
        if not border >> face & 1:
            yield face // 2, (block.shape[face // 2] - 1) * (face % 2)
