"""The part of a growing volume whose orientation is searched for, so that it is not at each answer.

The part follows from the cells that are known alone, and grows by doubling: as long as it stays the
same its start is remembered, under the hash of all that it is made of. Nothing is made of an
earlier answer, so whoever remembers nothing finds the same bits.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from fibstream.core.grid import Grid, Index
from fibstream.core.keys import canonical, digest

from .port import Image
from .register import Start
from .settings import Microscope, Settings

MAX_KEPT = 16  # starts, of some hundred bytes each


def part_of(known: Collection[Index], grid: Grid, least: float) -> list[Index] | None:
    """Return the cells of the first 1, 2, 4, 8 and so on layers, as many as are known whole.

    None where all that is known has to be searched: no layer is whole, those are less than the
    share ``least`` of a volume of known extent, or nothing is missing.

    Parameters
    ----------
    known
        Cells (z, y, x) that are known.
    grid
        All cells; the extent along z may be open.
    least
        Of the cells, from which an orientation can be found.
    """
    z, y, x = grid.count
    counts = np.bincount([cell[0] for cell in known], minlength=1)
    whole = int((np.append(counts, 0) < y * x).argmax())  # layers from the first one on
    part = [cell for cell in sorted(known) if cell[0] < (1 << whole.bit_length()) >> 1]
    every = z * y * x
    if not part or (grid.sealed and (len(known) == every or len(part) < least * every)):
        return None
    return part


class Starts:
    """Starts that were found last, by the hash of what they were found in.

    Threads may share it: at worst one finds what another one has found already.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Start] = {}

    def of(self, key: str, find: Callable[[], Start]) -> Start:
        """Return the start of a key, found unless it is remembered."""
        found = self._kept.pop(key, None) or find()
        self._kept[key] = found  # the last one in order is the last that was used
        for old in list(self._kept)[:-MAX_KEPT]:
            self._kept.pop(old, None)
        return found


def start_key(images: Sequence[Image], microscope: Microscope, settings: Settings) -> str:
    """Return the hash of all that a start is made of."""
    parts: list[bytes | memoryview] = []
    for image in images:
        voxels = np.ascontiguousarray(image.voxels)
        place = [voxels.shape, voxels.dtype.str, image.voxel_nm, image.corner_nm]
        parts += [canonical(place), voxels.reshape(-1).view(np.uint8).data]
    return digest(repr((microscope, settings)).encode(), *parts)
