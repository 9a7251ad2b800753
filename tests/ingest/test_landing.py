"""Landing (P4): raw only moves forward, and the ledger records what is stored."""

from collections.abc import Generator, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus, MemoryFiles
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.events import Record
from fibstream.core.grid import Box, Grid
from fibstream.core.keys import ABSENT, content_hash
from fibstream.core.stage import RAW, Input, Output
from fibstream.runtime.loops import drive
from fibstream.runtime.site import Site
from fibstream.services.ingest.edges.landing import LAST_REVISION, land, ordered
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Store

from ..support.files import content

INDEX = (1, 0, 0)
BLOB = Blob(RAW, INDEX, "uint16")
A, B = (np.full((2, 3, 4), value, np.uint16) for value in (7, 9))
SOURCE = Input(RAW, RAW, "uint16")


@pytest.fixture
def site() -> Site:
    store = Store(MemoryFiles(), Grid((5, 3, 4), (3, 3, 4)))  # the last chunk is short
    return Site("d", store, MemoryBus())


def put(site: Site, voxels: NDArray[Any] | None, revision: int | None = None) -> str:
    return drive(land(site, INDEX, voxels, "uint16", revision))


def stored(site: Site) -> tuple[int, str] | None:
    """Return revision and content hash of what verifies in the store."""
    stamp = site.store.intact(BLOB)
    return (stamp.revision, stamp.hash) if stamp else None


def announced(site: Site) -> list[tuple[int, str]]:
    """Return the revisions and content hashes in the ledger."""
    entries = site.bus.read(wire.ledger_topics(), 0)
    found = []
    for entry in entries:
        record = wire.decode(entry.value)
        assert isinstance(record, Record)
        assert (record.stage, record.subject, record.status) == (RAW, INDEX, "ready")
        found.append((int(record.key), record.hashes[RAW]))
    return found


def forget(site: Site) -> None:
    """Empty the ledger."""
    assert isinstance(site.bus, MemoryBus)
    site.bus.clear(wire.ledger_topics())


def generation(site: Site) -> object:
    return site.store.stamp_and_generation(BLOB)[1]


def flip(site: Site, where: int = 5) -> None:
    data = bytearray(content(site.store.files, BLOB.path))
    data[where] ^= 1
    site.store.files.put(BLOB.path, bytes(data))


def now(site: Site, revision: int | None, voxels: NDArray[Any] | None) -> None:
    """Assert that store and ledger hold this landing and nothing else."""
    content = ABSENT if voxels is None else content_hash(voxels)
    assert stored(site) == (revision, content)
    assert announced(site) == [(revision, content)]


def test_a_stored_prediction_lands_by_the_same_rules_beside_raw(site: Site) -> None:
    name = "predictions/er"
    for voxels, revision in ((A, 1), (B, 2), (B, 2)):
        put(site, A)
        drive(land(site, INDEX, voxels, "uint16", stage="stored/er", name=name))
        stamp = site.store.intact(Blob(name, INDEX, "uint16"))
        assert stamp is not None
        assert (stamp.stage, stamp.revision, stamp.hash) == (
            "stored/er", revision, content_hash(voxels),
        )  # fmt: skip
        assert stored(site) == (1, content_hash(A))
        found = [wire.decode(entry.value) for entry in site.bus.read(wire.ledger_topics(), 0)]
        assert Record("stored/er", INDEX, "ready", str(revision), {name: stamp.hash}) in found


def test_what_a_network_predicted_before_is_replaced_whatever_it_holds(site: Site) -> None:
    output = Output("predictions/er", "uint16")
    before = Stamp("prediction/net", INDEX, "key", "")
    ((blob, data, _),) = site.store.encode(output, A, before)
    site.store.files.put(blob.path, data)
    drive(land(site, INDEX, A, "uint16", stage="stored/er", name=output.name))
    stamp = site.store.intact(blob)
    assert stamp is not None
    assert (stamp.stage, stamp.revision) == ("stored/er", 1)


# -- each rule --------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "kept"), [(None, 1), (0, 0), (1, 1), (40, 40)])
def test_a_first_landing_is_written_under_its_revision(
    site: Site, given: int | None, kept: int
) -> None:
    assert put(site, A, given) == "written"
    now(site, kept, A)
    patch = site.store.read(SOURCE, site.store.grid.box(INDEX), {INDEX: content_hash(A)})
    assert np.array_equal(patch.array, A)


def test_a_larger_revision_replaces_what_is_there(site: Site) -> None:
    put(site, A, 3)
    assert put(site, B, 9) == "written"
    now(site, 9, B)


@pytest.mark.parametrize("late", [A, B])
def test_a_smaller_revision_changes_nothing_and_returns_the_outcome(
    site: Site, late: NDArray[Any]
) -> None:
    put(site, A, 3)
    before = generation(site)
    forget(site)
    assert put(site, late, 2) == "older"
    assert generation(site) == before
    now(site, 3, A)


def test_the_same_landing_again_writes_nothing_and_announces_again(site: Site) -> None:
    put(site, A, 3)
    before = generation(site)
    forget(site)
    assert put(site, A, 3) == "unchanged"
    assert generation(site) == before
    now(site, 3, A)


def test_one_revision_with_two_contents_is_an_error_that_touches_nothing(site: Site) -> None:
    put(site, A, 3)
    before = generation(site)
    forget(site)
    with pytest.raises(WrongUse, match=r"raw chunk \(1, 0, 0\): revision 3 already"):
        put(site, B, 3)
    assert generation(site) == before
    assert stored(site) == (3, content_hash(A))
    assert announced(site) == []


def test_the_same_content_under_a_larger_revision_keeps_a_late_one_out(site: Site) -> None:
    put(site, A, 1)
    assert put(site, A, 3) == "written"
    assert put(site, B, 2) == "older"
    now(site, 3, A)


def test_content_that_returns_is_a_revision_of_its_own(site: Site) -> None:
    for revision, voxels in enumerate((A, B, A), 1):
        assert put(site, voxels, revision) == "written"
    now(site, 3, A)


def test_without_a_revision_only_other_content_takes_the_next(site: Site) -> None:
    outcomes = [put(site, voxels) for voxels in (A, A, B, A)]
    assert outcomes == ["written", "unchanged", "written", "written"]
    now(site, 3, A)


def test_after_the_last_revision_nothing_else_lands_and_the_chunk_stays_readable(
    site: Site,
) -> None:
    assert put(site, A, LAST_REVISION) == "written"
    for revision in (None, LAST_REVISION + 1):
        with pytest.raises(LimitExceeded, match=rf"raw chunk \(1, 0, 0\): .* {LAST_REVISION}"):
            put(site, B, revision)
    assert put(site, B, 3) == "older"
    assert put(site, A) == "unchanged"
    now(site, LAST_REVISION, A)


def test_a_revision_that_no_call_can_name_was_never_given(site: Site) -> None:
    """Earlier versions counted past 64 bits: the chunk may be landed again."""
    put(site, A, 3)
    stamp = Stamp(RAW, INDEX, "", "", revision=2**64)
    ((blob, data, _),) = site.store.encode(Output(RAW, "uint16"), A, stamp)
    site.store.files.put(blob.path, data)
    assert put(site, B, 1) == "written"
    assert stored(site) == (1, content_hash(B))


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [3, None])
def test_a_damaged_chunk_is_repaired_by_its_own_landing(site: Site, revision: int | None) -> None:
    put(site, A, 3)
    flip(site)
    assert stored(site) is None
    assert put(site, A, revision) == "written"
    now(site, 3, A)


def test_a_damaged_chunk_keeps_its_revision_against_others(site: Site) -> None:
    put(site, A, 3)
    flip(site)
    with pytest.raises(WrongUse):
        put(site, B, 3)
    assert put(site, B, 2) == "older"
    assert stored(site) is None
    assert put(site, B, 4) == "written"
    now(site, 4, B)


def test_a_chunk_without_a_stamp_is_replaced(site: Site) -> None:
    put(site, A, 3)
    site.store.files.put(BLOB.path, b"something foreign")
    assert put(site, B, 1) == "written"
    now(site, 1, B)


# -- absent chunks ---------------------------------------------------------------------------------


def test_an_absent_chunk_reads_as_zero_and_is_marked_absent(site: Site) -> None:
    assert put(site, None, 1) == "written"
    now(site, 1, None)
    box = site.store.grid.box(INDEX)
    patch = site.store.read(SOURCE, box, {INDEX: ABSENT})
    assert not patch.array.any()
    assert patch.absent == (box,)


def test_an_absent_chunk_may_land_later_and_zeros_are_not_absence(site: Site) -> None:
    put(site, None, 1)
    zeros = np.zeros_like(A)
    with pytest.raises(WrongUse):
        put(site, zeros, 1)
    assert put(site, zeros, 2) == "written"
    now(site, 2, zeros)
    assert put(site, None, 1) == "older"
    now(site, 2, zeros)


# -- schedules -------------------------------------------------------------------------------------


def steps_of(site: Site, *landings: tuple[int, NDArray[Any]]) -> list[Generator[None, None, str]]:
    return [land(site, INDEX, voxels, "uint16", revision) for revision, voxels in landings]


def advance(steps: Iterator[None]) -> bool:
    """Take one step; an ended landing stays ended."""
    return next(steps, "ended") is None


class CountingFiles(MemoryFiles):
    """Files that count the puts they refused."""

    refused = 0

    def put(self, path: str, data: bytes, expected: Any = None) -> bool:
        done = super().put(path, data, expected)
        self.refused += not done
        return done


@pytest.mark.parametrize("before", [None, 1])
def test_two_landings_at_once_end_with_the_larger_in_every_interleaving(before: int | None) -> None:
    """Each takes at most six steps: a read, a put that may fail, both again, and the record."""
    refused = 0
    for turns in combinations(range(10), 5):
        files = CountingFiles()
        site = Site("d", Store(files, Grid((5, 3, 4), (3, 3, 4))), MemoryBus())
        if before:
            put(site, A, before)
        old, new = steps_of(site, (2, A), (3, B))
        for turn in range(10):
            advance(old if turn in turns else new)
        drive(new)
        drive(old)
        now(site, 3, B)
        refused += files.refused
    assert refused > 0


def test_a_put_that_came_too_late_reads_again(site: Site) -> None:
    old, new = steps_of(site, (2, A), (3, B))
    assert advance(old) and advance(old)  # it has read, and is about to put
    assert drive(new) == "written"
    assert drive(old) == "older"
    now(site, 3, B)


def test_a_landing_cut_off_anywhere_is_repaired_by_repeating_it() -> None:
    for effects in range(5):
        store = Store(MemoryFiles(), Grid((5, 3, 4), (3, 3, 4)))
        site = Site("d", store, MemoryBus())
        put(site, A, 1)
        (cut,) = steps_of(site, (2, B))
        for _ in range(effects):
            advance(cut)
        cut.close()
        assert stored(site) in [(1, content_hash(A)), (2, content_hash(B))]
        assert put(site, B, 2) in ("written", "unchanged")
        now(site, 2, B)


# -- orders ----------------------------------------------------------------------------------------

GRID = Grid((12, 9, 9), (3, 3, 3))


def test_every_order_lands_every_chunk_once_and_a_seed_replays_it() -> None:
    every = list(GRID.indices())
    for order in ("raster", "random", "slab"):
        found = list(ordered(GRID, order, 5))
        assert sorted(found) == every
        assert list(ordered(GRID, order, 5)) == found
        assert (list(ordered(GRID, order, 6)) == found) == (order == "raster")
    assert list(ordered(GRID, "raster", 5)) == every


def test_a_slab_is_finished_before_the_next_begins() -> None:
    layers = [index[0] for index in ordered(GRID, "slab", 5)]
    assert layers == sorted(layers)
    assert list(ordered(GRID, "slab", 5)) != list(GRID.indices())
    shuffled = [index[0] for index in ordered(GRID, "random", 5)]
    assert shuffled != sorted(shuffled)


def test_raw_is_its_full_level_alone() -> None:
    """The pyramid is an ordinary derived output, made anew from raw at any time."""
    chunk = (64, 64, 64)
    site = Site("d", Store(MemoryFiles(), Grid(chunk, chunk)), MemoryBus())
    drive(land(site, (0, 0, 0), np.ones(chunk, np.uint8), "uint8"))
    assert list(site.store.files.list(RAW)) == ["raw/s0/c/0/0/0"]
    assert site.store.grid.volume == Box((0, 0, 0), chunk)
