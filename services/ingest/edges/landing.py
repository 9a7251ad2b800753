"""Landing: chunks from outside enter the store, and only ever move forward (protocol rule P4).

Raw and stored predictions cannot be recomputed, so they alone are protected from late writers: each
landing carries a revision chosen by whoever acquires, and is put only over a smaller one, by a
conditional put.
"""

import random
from collections.abc import Generator, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import AlreadyExists, LimitExceeded, WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import ABSENT, content_hash
from fibstream.core.stage import RAW, Input, Output
from fibstream.runtime.planner import landed_record
from fibstream.runtime.site import Site
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob

Order = Literal["raster", "random", "slab"]
LandingOutcome = Literal["written", "unchanged", "older"]

LAST_REVISION = 2**64 - 2  # on the wire they are uint64, and clients ask for one more than is there


def ordered(grid: Grid, order: Order, seed: int) -> Iterator[Index]:
    """Yield every chunk of a sealed grid in the order in which it lands.

    ``slab``: layers of z one after the other, each shuffled, as when a microscope tiles a face.
    """
    indices = list(grid.indices())
    rng = random.Random(seed)
    if order == "random":
        rng.shuffle(indices)
    if order == "slab":
        indices.sort(key=lambda index: (index[0], rng.random()))
    yield from indices


def land(
    site: Site, index: Index, voxels: NDArray[Any] | None, dtype: str, revision: int | None = None,
    *, stage: str = RAW, name: str = RAW,
) -> Generator[None, None, LandingOutcome]:  # fmt: skip
    """Land one chunk, (z, y, x) voxels of ``dtype``, and announce what the store then holds.

    ``stage`` lands the array ``name``. ``voxels`` None declares the chunk absent.

    Without a ``revision`` the same content keeps the stored one and other content takes the next:
    right only for a client that never retries. Raises AlreadyExists when ``revision`` is taken by
    other content, LimitExceeded beyond ``LAST_REVISION``, WrongUse when the shape is not that of
    the chunk. Yields before each effect.
    """
    absent = voxels is None
    if revision is not None:
        _check_revision(revision, f"{name} chunk {index}")
    if voxels is None:
        voxels = np.zeros(site.store.grid.box(index).shape, np.dtype(dtype))
    _check_shape(site.store.grid, name, index, voxels.shape)
    content = ABSENT if absent else content_hash(voxels)
    blob = Blob(name, index, dtype)
    while True:
        yield
        stamp, generation = site.store.stamp_and_generation(blob)
        if stamp is not None and not is_landed(stamp, stage):
            stamp = None
        intact = stamp is not None and site.store.intact(blob) is not None
        number, outcome = _decide(stamp, content, revision, blob, intact=intact)
        if outcome != "written":
            break
        written = Stamp(stage, index, "", content, version=site.version, revision=number)
        ((_, data, _),) = site.store.encode(Output(name, dtype), voxels, written, absent=absent)
        yield
        if site.store.files.put(blob.path, data, expected=generation):
            break
    yield
    stamp = site.store.stamp(blob)
    if stamp is not None:
        site.publish(landed_record(Input(stage, name, dtype), stamp))
    return outcome


def is_landed(stamp: Stamp, stage: str) -> bool:
    """Whether a stamp is that of a landing by ``stage``.

    An earlier pipeline's network may have predicted the chunk; and a revision that no call can name
    was never given: what bears it may be landed again.
    """
    return stamp.stage == stage and stamp.revision <= LAST_REVISION + 1


def _check_revision(revision: int, where: str) -> None:
    """Raise LimitExceeded for a revision after which none could follow."""
    if revision > LAST_REVISION:
        raise LimitExceeded(f"{where}: revision {revision}; expected at most {LAST_REVISION}")


def _check_shape(grid: Grid, name: str, index: Index, shape: tuple[int, ...]) -> None:
    """Raise WrongUse unless voxels have the shape of their chunk."""
    expected = grid.box(index).shape
    if shape != expected:
        # A short last chunk marks the end of the volume: while z is open, its neighbours would
        # read beyond it.
        hint = "" if grid.sealed else "; seal the volume before a short last chunk"
        raise WrongUse(f"{name} chunk {index}: is {shape}, expected {expected}{hint}")


def _decide(
    stamp: Stamp | None, content: str, revision: int | None, blob: Blob, *, intact: bool
) -> tuple[int, LandingOutcome]:
    """Return the revision to write, and whether to write it."""
    if stamp is None:
        return 1 if revision is None else revision, "written"
    same = stamp.hash == content
    if revision is None:
        revision = stamp.revision if same else stamp.revision + 1
        if not same:
            _check_revision(revision, f"{blob.name} chunk {blob.subject}")
    if revision < stamp.revision:
        return revision, "older"
    if revision == stamp.revision:
        if not same:
            where = f"{blob.name} chunk {blob.subject}"
            raise AlreadyExists(f"{where}: revision {revision} already has other content")
        return revision, "unchanged" if intact else "written"
    return revision, "written"
