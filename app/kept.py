"""Arrays of a dataset as it keeps them, every voxel read against the stamp of its chunk."""

from fibstream.core.errors import Damaged, WrongState
from fibstream.core.grid import Box, Index
from fibstream.core.stage import Input, Patch
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Changed, Store


class Kept:
    """What a dataset holds that nobody writes meanwhile: stamps are read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamps: dict[tuple[str, Index], Stamp] = {}

    def stamp(self, reading: Input, index: Index) -> Stamp:
        """Return the stamp of a chunk of an array; raise WrongState where it is not there."""
        known = self._stamps.get((reading.name, index))
        if known is None:
            known = self._store.stamp(Blob(reading.name, index, reading.dtype))
            if known is None:
                raise WrongState(
                    f"{reading.name}: chunk {','.join(map(str, index))} is not there; run, or "
                    "`fibstream verify`, tells what is missing"
                )
            self._stamps[reading.name, index] = known
        return known

    def read(self, reading: Input, box: Box) -> Patch:
        """Return the voxels of a box, cut at the volume, axes (z, y, x); raise Damaged."""
        cells = self._store.grid.covering(box)
        try:
            expected = {index: self.stamp(reading, index).hash for index in cells}
            return self._store.read(reading, box, expected)
        except Changed as error:
            raise Damaged(
                f"{reading.name}: a chunk is damaged, or changed while it was read; `fibstream "
                "verify` names it"
            ) from error
