"""Which ends of descent share faces of voxels with pieces of background of a block."""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index

from ..compiled import compiled
from .saddles import Ends

PIECE_BITS = 32  # of keys: an end is a flat position below 2**31


def find_beside(pieces: Ends, end: Ends, core: Index) -> tuple[NDArray[np.intp], Ends]:
    """Return pairs (piece, end of descent from a voxel that shares a face with it), once each.

    Of two voxels the earlier is in the core, so that blocks have each pair of voxels once.

    Parameters
    ----------
    pieces
        Number of each voxel's piece of background, 0 for none, int32 ``(z, y, x)``: the core and
        at most one more voxel on each positive side.
    end
        As `basins.Basins` has it: the core and one more voxel on every side.
    core
        Shape of the core, ``(z, y, x)``.
    """
    keys = np.empty(4096, np.int64)  # seldom too few
    count = _write_beside(pieces, end, core, keys)
    if count > keys.size:
        keys = np.empty(count, np.int64)
        _write_beside(pieces, end, core, keys)
    keys = np.unique(keys[:count])
    return keys >> PIECE_BITS, (keys & (1 << PIECE_BITS) - 1).astype(np.int32)


@compiled
def _write_beside(pieces: Ends, end: Ends, core: Index, keys: NDArray[np.int64]) -> int:
    """Write pairs of voxels while there is room; return how many there are."""
    count, last = 0, np.int64(-1)
    for axis in range(3):
        dz, dy, dx = axis == 0, axis == 1, axis == 2
        depth = min(core[0], pieces.shape[0] - dz)
        height = min(core[1], pieces.shape[1] - dy)
        width = min(core[2], pieces.shape[2] - dx)
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    piece, to = pieces[z, y, x], end[z + dz + 1, y + dy + 1, x + dx + 1]
                    if piece == 0 or to < 0:
                        piece, to = pieces[z + dz, y + dy, x + dx], end[z + 1, y + 1, x + 1]
                    if piece == 0 or to < 0:
                        continue
                    key = np.int64(piece) << PIECE_BITS | np.int64(to)
                    if key != last:  # most repetitions
                        if count < keys.size:
                            keys[count] = key
                        count += 1
                        last = key
    return count
