"""Verified reads: what a task names is what it gets, all of one generation, or the task ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream.bus.memory import MemoryFiles
from fibstream.core.grid import Box, Grid
from fibstream.core.keys import content_hash
from fibstream.core.ports import Files
from fibstream.core.stage import Input, Output
from fibstream.core.subject import CHUNKS
from fibstream.store.local import LocalFiles
from fibstream.store.store import Blob, Changed, Store, blobs

from .blobs import bare_store, content, noise, put_array, put_summary, stamp

SHAPE, CHUNK = (10, 7, 9), (4, 4, 4)
SOURCE = Input("maker/a", "a", "uint16")
FACTS = Input("maker/a", "summaries/a")


def filled(files: Files | None = None) -> Any:
    """Return a store whose array ``a`` holds ``volume``, the volume, and the hash of each chunk."""
    store = Store(files or MemoryFiles(), Grid(SHAPE, CHUNK))
    volume = noise(SHAPE, "uint16", filled=0.9)
    hashes = {}
    for index in store.grid.indices():
        voxels = volume[store.grid.box(index).slices()]
        _, hashes[index] = put_array(store, "a", voxels, index)
    return store, volume, hashes


def test_a_block_is_read_over_chunks() -> None:
    store, volume, hashes = filled()
    for box in (Box((0, 0, 0), SHAPE), Box((3, 2, 1), (9, 7, 9)), Box((4, 4, 4), (5, 5, 5))):
        expected = {i: hashes[i] for i in store.grid.covering(box)}
        patch = store.read(SOURCE, box, expected)
        assert patch.box == box
        assert patch.absent == ()
        assert np.array_equal(patch.array, volume[box.slices()])


def lost(store: Store, blob: Blob) -> None:
    store.files.delete(blob.path)


def emptied(store: Store, blob: Blob) -> None:
    store.files.put(blob.path, b"")


def replaced(store: Store, _blob: Blob) -> None:
    put_array(store, "a", noise((4, 4, 4), "uint16", seed=9), (1, 0, 1))


def without_stamp(store: Store, blob: Blob) -> None:
    data = content(store, blob)
    start = data.index(b'{"hash"')
    stop = data.index(b"FIBSTAMP") + 8
    store.files.put(blob.path, data[:start] + data[stop:])


def rotten(store: Store, blob: Blob) -> None:
    data = bytearray(content(store, blob))
    data[5] ^= 1
    store.files.put(blob.path, bytes(data))


@pytest.mark.parametrize("damage", [lost, emptied, replaced, without_stamp, rotten])
def test_a_read_that_finds_anything_else_names_the_chunk(
    damage: Callable[[Store, Blob], None],
) -> None:
    store, _, hashes = filled()
    damage(store, Blob("a", (1, 0, 1), "uint16"))
    box = Box((0, 0, 0), SHAPE)
    with pytest.raises(Changed) as changed:
        store.read(SOURCE, box, hashes)
    assert (changed.value.stage, changed.value.subject) == ("maker/a", (1, 0, 1))
    apart = Box((8, 0, 0), SHAPE)  # the other chunks are as good as before
    store.read(SOURCE, apart, {i: hashes[i] for i in store.grid.covering(apart)})


def test_a_summary_is_read_as_expected_or_not_at_all() -> None:
    store = bare_store(SHAPE, CHUNK)
    with pytest.raises(Changed):
        store.read_summary(FACTS, (0, 0, 0), "anything")
    blob, first = put_summary(store, "summaries/a", {"n": np.arange(3)})
    assert store.read_summary(FACTS, (0, 0, 0), first)["n"].tolist() == [0, 1, 2]
    _, second = put_summary(store, "summaries/a", {"n": np.arange(4)})
    with pytest.raises(Changed):
        store.read_summary(FACTS, (0, 0, 0), first)
    rotten(store, blob)
    with pytest.raises(Changed) as changed:
        store.read_summary(FACTS, (0, 0, 0), second)
    assert (changed.value.stage, changed.value.subject) == ("maker/a", (0, 0, 0))


class ReplacingFiles:
    """Files of which each is replaced right after it was opened."""

    def __init__(self, files: Files, other: bytes) -> None:
        self._files = files
        self._other = other

    def open(self, path: str) -> Any:
        handle = self._files.open(path)
        if handle is not None:
            self._files.put(path, self._other)
        return handle


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_stamp_and_voxels_are_of_one_generation(kind: str, tmp_path: Path) -> None:
    """A replacement between two reads of one blob must not be seen by the second."""
    files: Files = MemoryFiles() if kind == "memory" else LocalFiles(tmp_path)
    store = Store(files, Grid((64, 64, 64), (64, 64, 64)))
    after, before = (noise((64, 64, 64), "uint16", seed=s, filled=1) for s in (1, 2))
    put_array(store, "a", after)
    blob = Blob("a", (0, 0, 0), "uint16")
    other = content(store, blob)
    _, hash_ = put_array(store, "a", before)
    replacing: Any = ReplacingFiles(files, other)
    moving = Store(replacing, store.grid)
    patch = moving.read(SOURCE, store.grid.volume, {(0, 0, 0): hash_})
    assert np.array_equal(patch.array, before)
    stamp = store.intact(blob)
    assert stamp is not None
    assert stamp.hash == content_hash(after)


def test_the_generation_of_a_stamp_guards_a_conditional_put() -> None:
    store = bare_store((4, 4, 4), (4, 4, 4))
    blob = Blob("a", (0, 0, 0), "uint8")
    assert store.stamp_and_generation(blob) == (None, ())
    put_array(store, "a", noise((4, 4, 4), "uint8"))
    found, generation = store.stamp_and_generation(blob)
    assert found == store.stamp(blob)
    put_array(store, "a", noise((4, 4, 4), "uint8"))  # the same bytes, and yet another put
    assert not store.files.put(blob.path, b"late", expected=generation)
    assert store.intact(blob) is not None


def test_the_objects_of_an_output_are_its_levels_one_path_each() -> None:
    chunk = (64, 64, 32)
    output = Output("raw", "uint8", "mean")
    every = blobs(output, (3, 0, 12), CHUNKS, chunk)
    assert [o.path for o in every] == [
        "raw/s0/c/3/0/12", "raw/s1/c/3/0/12", "raw/s2/c/3/0/12",
    ]  # fmt: skip
    assert len({o.label for o in every}) == 3
    coarser = Output("raw", "uint8", "mean", first=1)
    assert blobs(coarser, (3, 0, 12), CHUNKS, chunk) == every[1:]
    assert blobs(Output("raw", "uint8"), (3, 0, 12), CHUNKS, chunk) == every[:1]
    (summary,) = blobs(Output("summaries/x"), (3, 0, 12), CHUNKS, chunk)
    assert summary.path == "summaries/x/3.0.12"


def test_every_level_that_is_written_verifies() -> None:
    store = bare_store((48, 32, 32), (32, 32, 32))
    voxels = noise((16, 32, 32), "uint8")  # a short last chunk
    made = store.encode(Output("a", "uint8", "mean"), voxels, stamp(subject=(1, 0, 0)))
    assert [blob.level for blob, _, _ in made] == [0, 1, 2]
    for blob, data, hash_ in made:
        store.files.put(blob.path, data)
        found = store.intact(blob)
        assert found is not None
        assert (found.hash, found.shape) == (hash_, tuple(n >> blob.level for n in voxels.shape))


def test_the_stored_chunks_of_an_array_are_listed() -> None:
    store, _, hashes = filled()
    for foreign in (".DS_Store", "0/0/.nfs01", "0/1/0/5", "00/0/1", "-1/0/0"):
        store.files.put(f"a/s0/c/{foreign}", b"mine")
    assert set(store.chunks("a")) == set(hashes)
    assert list(store.chunks("b")) == []


def test_an_object_that_lies_in_another_chunks_place_is_nobodys() -> None:
    store, _, _ = filled()
    here, there = Blob("a", (0, 0, 0), "uint16"), Blob("a", (1, 1, 1), "uint16")
    handle = store.files.open(there.path)
    store.files.put(here.path, handle.read(0, handle.size))
    assert store.stamp(here) is None and store.intact(here) is None
    assert (
        store.stamp_and_generation(here)[1] != ()
    )  # something is there, and a conditional put may replace it
    assert store.intact(there) is not None
