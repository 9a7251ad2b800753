"""What is read is what is stored, whatever was decoded before; and it is decoded once."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from fibstream.bus.memory import MemoryFiles
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.stage import Input
from fibstream.store.decoded import Decoded
from fibstream.store.shard import Layout, Shard
from fibstream.store.store import Store

from .blobs import noise, put_array

SHAPE, CHUNK = (140, 64, 41), (128, 32, 32)  # two inner chunks a chunk
CUBE = (32, 32, 32)
SOURCE = Input("maker/a", "a", "uint16")
INNER = 16**3 * 2  # bytes of an inner chunk of the smallest chunks here


def drawn_box(rng: random.Random) -> Box:
    start, stop = zip(*(sorted(rng.sample(range(n + 1), 2)) for n in SHAPE), strict=True)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@pytest.mark.parametrize("limit", [0, 1 << 16, 1 << 19, 64 << 20])
def test_reads_are_of_what_is_stored_whatever_was_decoded_before(limit: int) -> None:
    """Chunks get new contents, and contents that others have or had, between reads."""
    rng = random.Random(limit)
    store = Store(MemoryFiles(), Grid(SHAPE, CHUNK), Decoded(limit))
    volume = np.zeros(SHAPE, np.uint16)
    hashes: dict[Index, str] = {}
    places = list(store.grid.indices())
    for step in range(60):
        for index in places if step == 0 else [rng.choice(places)]:
            box = store.grid.box(index)
            content = noise(box.shape, "uint16", seed=rng.randrange(3), filled=0.9)
            volume[box.slices()] = content
            _, hashes[index] = put_array(store, "a", content, index)
        read = drawn_box(rng)
        patch = store.read(SOURCE, read, {i: hashes[i] for i in store.grid.covering(read)})
        assert np.array_equal(patch.array, volume[read.slices()])


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """Count how often each inner chunk is decoded."""
    found: Counter[bytes] = Counter()
    decode = Shard._inner

    def count(self: Shard, piece: bytes, length: int) -> Any:
        found[piece] += 1
        return decode(self, piece, length)

    monkeypatch.setattr(Shard, "_inner", count)
    return found


def test_an_inner_chunk_is_decoded_once_by_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    times = counted(monkeypatch)
    store = Store(MemoryFiles(), Grid((64, 64, 64), CUBE), Decoded())
    hashes = {
        index: put_array(store, "a", noise(CUBE, "uint16", seed=n, filled=1), index)[1]
        for n, index in enumerate(store.grid.indices())
    }
    for index in store.grid.indices():  # each with a halo that reaches all others
        z, y, x = index
        box = Box((8 * z, 8 * y, 8 * x), (40 + 8 * z, 40 + 8 * y, 40 + 8 * x))
        assert len(list(store.grid.covering(box))) == 8
        store.read(SOURCE, box, hashes)
    assert len(times) == 8 and set(times.values()) == {1}


def test_what_was_not_used_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    times = counted(monkeypatch)
    store = Store(MemoryFiles(), Grid((16, 16, 48), (16, 16, 16)), Decoded(2 * INNER))
    hashes = [
        put_array(store, "a", noise((16, 16, 16), "uint16", seed=x, filled=1), (0, 0, x))[1]
        for x in range(3)
    ]

    def read(x: int) -> int:
        before = sum(times.values())
        index = (0, 0, x)
        store.read(SOURCE, store.grid.box(index), {index: hashes[x]})
        return sum(times.values()) - before

    assert [read(x) for x in (0, 1, 0, 2, 0, 1, 2)] == [1, 1, 0, 1, 0, 1, 1]


def test_one_content_in_chunks_of_two_shapes_is_cut_anew() -> None:
    """A short last chunk can be the whole of a smaller one, with other inner chunks."""
    decoded, content = Decoded(), noise((96, 16, 16), "uint16", filled=1)
    for chunk, inner in (((128, 16, 16), 64), ((96, 16, 16), 48)):
        assert Layout(chunk, "uint16").inner[0] == inner
        store = Store(MemoryFiles(), Grid((96, 16, 16), chunk), decoded)
        _, hash_ = put_array(store, "a", content)
        found = store.read(SOURCE, store.grid.volume, {(0, 0, 0): hash_})
        assert np.array_equal(found.array, content)


def test_a_check_of_what_is_stored_decodes_it() -> None:
    store = Store(MemoryFiles(), Grid(CUBE, CUBE), Decoded())
    blob, hash_ = put_array(store, "a", noise(CUBE, "uint16", filled=1))
    store.read(SOURCE, store.grid.volume, {(0, 0, 0): hash_})
    handle = store.files.open(blob.path)
    assert handle is not None
    data = bytearray(handle.read(0, handle.size))
    data[100] ^= 1
    store.files.put(blob.path, bytes(data))
    assert store.intact(blob) is None
