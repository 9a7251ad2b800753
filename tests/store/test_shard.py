"""Stored bytes: what was written comes back, and no damage of any byte goes unseen."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.arrays import decode_arrays, encode_arrays
from fibstream.core.grid import Box, Index
from fibstream.core.keys import ABSENT, content_hash
from fibstream.core.stage import Input
from fibstream.store.shard import (
    Layout,
    Shard,
    Sized,
    decode_blob,
    encode_shard,
    encode_stamp,
    find_stamp,
    read_stamp,
)
from fibstream.store.store import Blob, Changed, Store

from .blobs import (
    LONG,
    Inputs,
    bare_store,
    content,
    noise,
    parquet,
    put_array,
    put_summary,
    put_table,
    stamp,
)

DTYPES = ("uint8", "int8", "uint16", "int16", "uint64", "float32")
EDGES = st.sampled_from((1, 2, 7, 13, 16, 17, 31, 32, 48, 51, 96))


@st.composite
def chunks(draw: st.DrawFn) -> tuple[Index, Index]:
    """Draw a chunk of odd or even edges and the shape of what it holds: the last one is short."""
    chunk = draw(st.tuples(EDGES, EDGES, EDGES).filter(lambda c: np.prod(c) < 40_000))
    z, y, x = (draw(st.integers(1, c)) for c in chunk)
    return chunk, (z, y, x)


@given(chunks(), st.sampled_from(DTYPES), st.sampled_from((0, 0.01, 0.9)), st.data())
@settings(max_examples=60)
def test_voxels_come_back_whole_and_in_any_box(
    case: Any, dtype: str, filled: float, data: st.DataObject
) -> None:
    chunk, shape = case
    voxels = noise(shape, dtype, seed=sum(shape), filled=filled)
    store = bare_store(shape, chunk)
    blob, hash_ = put_array(store, "a", voxels)
    found = store.intact(blob)
    assert found is not None
    assert (found.hash, found.shape) == (content_hash(voxels), shape)
    z, y, x = (data.draw(st.integers(0, n - 1)) for n in shape)
    end_z, end_y, end_x = (
        data.draw(st.integers(a + 1, n)) for a, n in zip((z, y, x), shape, strict=True)
    )
    box = Box((z, y, x), (end_z, end_y, end_x))
    patch = store.read(Input("s", "a", dtype), box, {(0, 0, 0): hash_})
    assert patch.array.dtype == voxels.dtype
    assert np.array_equal(patch.array, voxels[box.slices()])


@given(chunks(), st.sampled_from(DTYPES))
@settings(max_examples=20)
def test_equal_voxels_are_equal_bytes_wherever_they_lie_in_memory(case: Any, dtype: str) -> None:
    chunk, shape = case
    voxels, layout = noise(shape, dtype), Layout(chunk, dtype)
    swapped = np.asfortranarray(voxels).astype(np.dtype(dtype).newbyteorder(">"))
    assert encode_shard(swapped, layout, stamp()) == encode_shard(voxels, layout, stamp())


def test_inner_chunks_of_zeros_are_left_out_and_still_a_shard_is_written() -> None:
    store = bare_store((128, 16, 16), (128, 16, 16))
    voxels = np.zeros((128, 16, 16), np.uint8)
    blob, _ = put_array(store, "a", voxels)
    empty = len(content(store, blob))
    assert store.intact(blob) is not None
    voxels[127, 15, 15] = 1
    put_array(store, "a", voxels)
    assert store.intact(blob) is not None
    assert empty < len(content(store, blob)) < empty + 100


def test_minus_zero_is_a_value_of_its_own() -> None:
    store = bare_store((4, 4, 4), (4, 4, 4))
    voxels = -np.zeros((4, 4, 4), np.float32)
    blob, _ = put_array(store, "a", voxels)
    assert store.intact(blob) is not None
    shard = Shard(Sized(*reader(content(store, blob))), Layout((4, 4, 4), "float32"))
    assert np.signbit(shard.voxels(Box((0, 0, 0), (4, 4, 4)))).all()


def reader(data: bytes) -> tuple[Callable[[int, int], bytes], int]:
    return (lambda start, stop: data[start:stop]), len(data)


# -- damage ----------------------------------------------------------------------------------------


def two_inner_chunks(store: Store) -> tuple[Blob, str]:
    voxels = np.zeros((96, 1, 1), np.uint16)
    voxels[10:14, 0, 0] = 1, 2, 3, 4
    voxels[90] = 5
    return put_array(store, "a", voxels)


def one_of_two_inner_chunks(store: Store) -> tuple[Blob, str]:
    voxels = np.zeros((96, 1, 1), np.uint16)
    voxels[90] = 5
    return put_array(store, "a", voxels)


def declared_absent(store: Store) -> tuple[Blob, str]:
    return put_array(store, "a", np.zeros((96, 1, 1), np.uint16), absent=True)


def a_summary(store: Store) -> tuple[Blob, str]:
    return put_summary(store, "summaries/a", {"ids": np.arange(5, dtype=np.uint64)})


Maker = Callable[[Store], tuple[Blob, str]]
MAKERS: list[Maker] = [
    two_inner_chunks,
    one_of_two_inner_chunks,
    declared_absent,
    a_summary,
    put_table,
]


def made(maker: Maker) -> tuple[Store, Blob, bytes]:
    store = bare_store((96, 1, 1), (96, 1, 1))
    blob, hash_ = maker(store)
    whole, stamp = store.intact(blob), store.stamp(blob)
    assert whole is not None and stamp is not None
    assert whole.hash == hash_ == stamp.hash
    return store, blob, content(store, blob)


@pytest.mark.parametrize("maker", MAKERS)
def test_every_flipped_bit_is_seen(maker: Maker) -> None:
    store, blob, whole = made(maker)
    for at in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            store.files.put(blob.path, bytes(damaged))
            assert store.intact(blob) is None, (at, bit)
            store.stamp(blob)  # may be read or not, and never falls over


@pytest.mark.parametrize("maker", MAKERS)
def test_every_cut_and_every_byte_too_many_is_seen(maker: Maker) -> None:
    store, blob, whole = made(maker)
    lengths = [whole[:n] for n in range(len(whole))]
    for damaged in [*lengths, whole + b"\0", whole + whole[-1:]]:
        store.files.put(blob.path, damaged)
        assert store.intact(blob) is None, len(damaged)
        store.stamp(blob)


def test_a_flipped_bit_never_changes_what_is_read() -> None:
    store, blob, whole = made(two_inner_chunks)
    stamp = store.stamp(blob)
    assert stamp is not None
    hash_ = stamp.hash
    source, lower = Input("s", "a", "uint16"), Box((8, 0, 0), (20, 1, 1))
    wanted = store.read(source, lower, {(0, 0, 0): hash_}).array
    refused = 0
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        store.files.put(blob.path, bytes(damaged))
        try:
            found = store.read(source, lower, {(0, 0, 0): hash_}).array
        except Changed:
            refused += 1
        else:  # the damage lies in the other inner chunk, whose checksum is not read
            assert np.array_equal(found, wanted)
    assert 0 < refused < len(whole)


def test_a_shard_of_other_content_under_the_same_stamp_is_seen() -> None:
    """Each part passes its checksum, and yet they do not belong together."""
    store, blob, whole = made(two_inner_chunks)
    other = np.zeros((96, 1, 1), np.uint16)
    other[10] = 9
    stamp = store.stamp(blob)
    assert stamp is not None
    wrong = encode_shard(other, store.layout("uint16"), stamp)
    store.files.put(blob.path, wrong)
    assert store.stamp(blob) is not None
    assert store.intact(blob) is None
    assert whole != wrong


# -- stamps ----------------------------------------------------------------------------------------


@given(st.text(max_size=20), st.binary(max_size=20), st.integers(0, 2**63))
def test_a_stamp_is_found_at_the_end_of_anything(key: str, before: bytes, revision: int) -> None:
    sealed = encode_stamp(replace(stamp(), key=key, revision=revision))
    found, length = find_stamp(before + sealed)
    assert found == replace(stamp(), key=key, revision=revision)
    assert length == len(sealed)


@given(st.binary(max_size=200))
def test_no_stamp_is_found_in_noise(data: bytes) -> None:
    assert find_stamp(data)[0] is None


@pytest.mark.parametrize("kind", ["shard", "summary", "table"])
def test_a_stamp_longer_than_the_first_read_takes_a_second(kind: str) -> None:
    store = bare_store((8, 8, 8), (8, 8, 8))
    if kind == "shard":
        blob, hash_ = put_array(store, "a", noise((8, 8, 8), "uint8"), inputs=LONG)
    elif kind == "summary":
        blob, hash_ = put_summary(store, "summaries/a", {"n": np.arange(3)}, inputs=LONG)
    else:
        blob, hash_ = put_table(store, inputs=LONG)
    assert len(content(store, blob)) > 2 * 4096
    for found in (store.stamp(blob), store.intact(blob)):
        assert found is not None
        assert (found.hash, found.inputs) == (hash_, LONG)


def test_a_look_at_a_stamp_reads_only_the_end_of_the_file() -> None:
    store = bare_store((64, 64, 64), (64, 64, 64))
    blob, _ = put_array(store, "a", noise((64, 64, 64), "uint16", filled=1))
    data, read = content(store, blob), []

    def counted(start: int, stop: int) -> Any:
        read.append(stop - start)
        return data[start:stop]

    assert Shard(Sized(counted, len(data)), store.layout("uint16")).stamp == store.stamp(blob)
    assert sum(read) < 5000 < len(data)
    read.clear()
    assert read_stamp(counted, len(data)) is None  # a shard ends with its index
    assert sum(read) < 5000


@pytest.mark.parametrize("inputs", [(), LONG])
def test_a_stamped_table_is_still_a_parquet_file(inputs: Inputs) -> None:
    table, body = parquet()
    store = bare_store((8, 8, 8), (8, 8, 8))
    blob, _ = put_table(store, inputs=inputs)
    found = pq.read_table(io.BytesIO(content(store, blob)))
    assert found.equals(table, check_metadata=True)
    decoded = decode_blob(content(store, blob))
    assert decoded is not None
    assert decoded[0] == body


def test_an_absent_chunk_says_so_and_reads_as_zero() -> None:
    store = bare_store((4, 4, 8), (4, 4, 4))
    voxels = noise((4, 4, 4), "uint8", filled=1)
    _, here = put_array(store, "a", voxels)
    blob, gone = put_array(store, "a", np.zeros_like(voxels), (0, 0, 1), absent=True)
    found = store.intact(blob)
    assert gone == ABSENT
    assert found is not None and found.absent
    box = Box((0, 0, 2), (4, 4, 6))
    patch = store.read(Input("s", "a", "uint8"), box, {(0, 0, 0): here, (0, 0, 1): gone})
    assert np.array_equal(patch.array[:, :, :2], voxels[:, :, 2:])
    assert not patch.array[:, :, 2:].any()
    assert patch.absent == (Box((0, 0, 4), (4, 4, 6)),)
    assert np.array_equal(np.argwhere(~patch.present())[:, 2] // 2, [1] * 32)


# -- summaries -------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.text(max_size=6), st.sampled_from(DTYPES), max_size=4),
    st.tuples(*[st.integers(0, 4)] * 2),
)
@settings(max_examples=50)
def test_named_arrays_come_back_and_their_bytes_are_canonical(
    dtypes: dict[str, str], shape: tuple[int, ...]
) -> None:
    arrays = {n: noise(shape, d, seed=len(n)) for n, d in dtypes.items()}
    data = encode_arrays(arrays)
    found = decode_arrays(data)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    swapped = {
        n: np.asfortranarray(a).astype(a.dtype.newbyteorder(">"))
        for n, a in reversed(arrays.items())
    }
    assert encode_arrays(swapped) == data
