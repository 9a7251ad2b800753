"""Landing: raw chunks enter the store, and only ever move forward (protocol rule P4).

Raw cannot be recomputed, so it alone is protected from late writers: each landing carries a
revision chosen by whoever acquires, and is put only over a smaller one, by a conditional put.
"""

import random
from collections.abc import Generator, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import AlreadyThere, WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import ABSENT, content_hash
from fibstream.core.stage import RAW, Output
from fibstream.runtime.planner import raw_record
from fibstream.runtime.site import Site
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob

Order = Literal["raster", "random", "slab"]
Landed = Literal["written", "unchanged", "older"]


def ordered(grid: Grid, order: Order, seed: int) -> Iterator[Index]:
    """Yield every chunk of a sealed grid in the order in which it lands.

    ``slab``: slabs of z one after the other, shuffled inside, as a stage that tiles a face does.
    """
    indices = list(grid.indices())
    chance = random.Random(seed)
    if order == "random":
        chance.shuffle(indices)
    if order == "slab":
        indices.sort(key=lambda index: (index[0], chance.random()))
    yield from indices


def land(
    site: Site, index: Index, voxels: NDArray[Any] | None, dtype: str, revision: int | None = None
) -> Generator[None, None, Landed]:
    """Land one chunk (``None``: declare it absent) and announce what the store then holds.

    Without a ``revision`` the same content keeps the stored one and other content takes the next:
    right only for a client that never retries. Raises AlreadyThere when ``revision`` is taken by
    other content, WrongUse when the shape is not that of the chunk. Yields before each effect.
    """
    absent = voxels is None
    shape = site.store.grid.box(index).shape
    if voxels is None:
        voxels = np.zeros(shape, np.dtype(dtype))
    if voxels.shape != shape:
        # A short last chunk says where the volume ends: while z is open its neighbours would
        # take what is not there for voxels.
        hint = "" if site.store.grid.sealed else "; seal the volume before a short last chunk"
        raise WrongUse(f"raw chunk {index}: is {voxels.shape}, expected {shape}{hint}")
    content = ABSENT if absent else content_hash(voxels)
    item = Blob(RAW, index, dtype)
    while True:
        yield
        stamp, generation = site.store.look(item)
        whole = stamp is not None and site.store.intact(item) is not None
        number, outcome = _decide(stamp, content, revision, index, whole=whole)
        if outcome != "written":
            break
        made = Stamp(RAW, index, "", content, version=site.version, revision=number)
        ((_, data, _),) = site.store.encode(Output(RAW, dtype), voxels, made, absent=absent)
        yield
        if site.store.files.put(item.path, data, expected=generation):
            break
    yield
    stamp = site.store.stamp(item)
    if stamp is not None:
        site.publish(raw_record(stamp))
    return outcome


def _decide(
    stamp: Stamp | None, content: str, revision: int | None, index: Index, *, whole: bool
) -> tuple[int, Landed]:
    """Return the revision to write, and whether to write it."""
    if stamp is None:
        return 1 if revision is None else revision, "written"
    same = stamp.hash == content
    if revision is None:
        revision = stamp.revision if same else stamp.revision + 1
    if revision < stamp.revision:
        return revision, "older"
    if revision == stamp.revision:
        if not same:
            raise AlreadyThere(f"raw chunk {index}: revision {revision} already has other content")
        return revision, "unchanged" if whole else "written"
    return revision, "written"
