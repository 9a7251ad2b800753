"""How often a store in a bucket is asked, and what happens when an object moves meanwhile."""

from typing import Any

import numpy as np
import pytest

from fibstream.core.grid import Box, Grid
from fibstream.core.ports import Replaced
from fibstream.core.stage import Input, Output
from fibstream.store import shard
from fibstream.store.remote import TAIL_BYTES, open_files
from fibstream.store.shard import Stamp, encode_blob, encode_stamp
from fibstream.store.store import MAX_OPENINGS, Blob, Changed, Store

from ..support.geometry import triple
from ..support.s3 import BUCKET

SHAPE = (128, 128, 128)
SOURCE = Input("s", "a", "uint8")
ALL = Box((0, 0, 0), SHAPE)


@pytest.fixture
def files(s3):
    opened = open_files(f"s3://{BUCKET}/d.zarr")
    s3.seen.clear()
    return opened


@pytest.fixture
def store(files):
    return Store(files, Grid(SHAPE, SHAPE))


def noise(seed=0):
    return np.random.default_rng(seed).integers(1, 256, SHAPE, np.uint8)


def encoded(store, voxels, revision=1):
    """Return one chunk as it is stored: object, bytes, hash."""
    stamp = Stamp("s", (0, 0, 0), "key", "", revision=revision)
    ((item, data, content),) = store.encode(Output("a", "uint8"), voxels, stamp)
    return item, data, content


def put(store, voxels):
    item, data, content = encoded(store, voxels)
    store.files.put(item.path, data)
    return item, content


def asked(s3):
    """Return what was asked since the last call."""
    found = [(request.method, request.range) for request in s3.seen]
    s3.seen.clear()
    return found


def test_a_stamp_is_looked_at_with_one_request(s3, store) -> None:
    item, content = put(store, noise())
    assert asked(s3) == [("PUT", "")]
    assert store.stamp(item).hash == content
    assert asked(s3) == [("GET", f"bytes=-{TAIL_BYTES}")]


def test_a_chunk_is_read_with_two_requests_whatever_it_holds(s3, store) -> None:
    voxels = noise()
    voxels[:64] = 0
    voxels[:64, :64, :64] = 7
    item, content = put(store, voxels)
    s3.seen.clear()
    assert np.array_equal(store.read(SOURCE, ALL, {(0, 0, 0): content}).array, voxels)
    (first, *more) = asked(s3)
    assert first == ("GET", f"bytes=-{TAIL_BYTES}")
    assert len(more) == 1
    assert store.intact(item).hash == content
    assert len(asked(s3)) == 2


def test_a_face_is_read_in_ranges_that_touch(s3, store) -> None:
    voxels = noise()
    _, content = put(store, voxels)
    s3.seen.clear()
    for axis, lots in ((0, 1), (1, 2), (2, 4)):  # inner chunks lie in the order z, y, x
        stop = [128, 128, 128]
        stop[axis] = 3
        box = Box((0, 0, 0), triple(stop))
        patch = store.read(SOURCE, box, {(0, 0, 0): content})
        assert np.array_equal(patch.array, voxels[box.slices()])
        assert len(asked(s3)) == 1 + lots


def test_a_short_object_costs_a_second_request_only_when_it_is_met_anew(s3, store) -> None:
    item, content = put(store, np.full(SHAPE, 3, np.uint8))
    s3.seen.clear()
    assert store.stamp(item).hash == content  # put by us: known to be short
    assert store.intact(item).hash == content
    assert asked(s3) == [("GET", ""), ("GET", "")]
    other = Store(open_files(f"s3://{BUCKET}/d.zarr"), store.grid)
    s3.seen.clear()
    stamp = other.intact(item)
    assert stamp is not None and stamp.hash == content
    assert asked(s3) == [("GET", f"bytes=-{TAIL_BYTES}"), ("GET", "")]
    stamp = other.stamp(item)
    assert stamp is not None and stamp.hash == content
    assert asked(s3) == [("GET", "")]
    put(store, noise())  # it grew: one that is remembered as short is read whole once
    s3.seen.clear()
    assert [other.stamp(item) is not None for _ in range(2)] == [True, True]
    assert asked(s3) == [("GET", ""), ("GET", f"bytes=-{TAIL_BYTES}")]


def test_the_stamp_of_a_table_is_looked_at_with_one_request(s3, store) -> None:
    item = Blob("tables/x.parquet", (0, 0, 0))
    footer = bytes(3000) + (3000).to_bytes(4, "little") + b"PAR1"
    stamp = Stamp("t", (0, 0, 0), "key", "hash")
    store.files.put(item.path, encode_blob(noise().tobytes()[:100_000] + footer, stamp))
    s3.seen.clear()
    assert store.stamp(item) == stamp
    assert asked(s3) == [("GET", f"bytes=-{TAIL_BYTES}")]


def test_conditional_puts_carry_the_condition_to_the_server(s3, files) -> None:
    assert files.put("a", b"1", expected=())
    assert s3.seen[-1].headers["IF_NONE_MATCH"] == "*"
    handle = files.open("a")
    assert files.put("a", b"2", expected=handle.generation)
    assert s3.seen[-1].method == "PUT"
    assert bytes(handle.generation[1:]).endswith(s3.seen[-1].headers["IF_MATCH"].encode())


def test_a_put_whose_answer_was_lost_is_refused_and_there(s3, files) -> None:
    lost: list[Any] = []

    def before(request) -> str | None:
        if request.method == "PUT" and not lost:
            lost.append(request)
            s3.replace("d.zarr/a", b"mine")
            return "500 Internal Error"
        return None

    s3.before = before
    assert not files.put("a", b"mine", expected=())
    assert lost
    assert files.open("a").end(9) == b"mine"


def between(s3, act, times=1) -> None:
    """Act before the ranges of a chunk are answered: after its index was read."""
    left = [times]

    def before(request) -> None:
        if request.range and f"-{TAIL_BYTES}" not in request.range and left[0]:
            left[0] -= 1
            act()

    s3.before = before


PATH = "d.zarr/a/s0/c/0/0/0"


def test_a_read_goes_on_with_the_same_content_of_a_later_revision(s3, store) -> None:
    _, content = put(store, noise())
    later = encoded(store, noise(), revision=2)[1]
    between(s3, lambda: s3.replace(PATH, later))
    assert np.array_equal(store.read(SOURCE, ALL, {(0, 0, 0): content}).array, noise())


def test_other_content_and_none_are_changes(s3, store) -> None:
    item, content = put(store, noise())
    other = encoded(store, noise(1))[1]
    for act in (lambda: s3.replace(PATH, other), lambda: s3.remove(PATH)):
        put(store, noise())
        between(s3, act)
        with pytest.raises(Changed):
            store.read(SOURCE, ALL, {(0, 0, 0): content})
        s3.before = None
        put(store, noise())
        between(s3, act)
        found = store.intact(item)
        assert found is None or found.hash == encoded(store, noise(1))[2]
        s3.before = None


def test_a_long_stamp_and_a_summary_are_read_anew_as_well(s3, store) -> None:
    summary = {"n": np.random.default_rng(0).integers(0, 1 << 60, 5000)}  # does not shrink
    inputs = tuple(("raw", "raw", (0, 0, n), "f" * 32) for n in range(600))
    stamps = [Stamp("b", (0, 0, 0), "key", "", inputs, revision=n) for n in (1, 2)]
    (item, data, content), (_, later, _) = (
        store.encode(Output("b"), summary, stamp)[0] for stamp in stamps
    )
    for does in (lambda: store.stamp(item).revision == 2,
                 lambda: store.read_summary(Input("b", "b", ""), (0, 0, 0), content)):  # fmt: skip
        s3.replace(f"d.zarr/{item.path}", data)
        handed: list[Any] = []

        def before(request, handed=handed) -> None:
            if f"-{TAIL_BYTES}" not in request.range and not handed:
                handed.append(s3.replace(f"d.zarr/{item.path}", later))

        s3.before = before
        assert does()
        assert handed
        s3.before = None


def test_a_chunk_larger_than_what_is_read_at_once_comes_in_lots(s3, store, monkeypatch) -> None:
    monkeypatch.setattr(shard, "_MAX_GROUP", 600_000)  # two of eight inner chunks of noise
    item, content = put(store, noise())
    s3.seen.clear()
    assert np.array_equal(store.read(SOURCE, ALL, {(0, 0, 0): content}).array, noise())
    assert len(asked(s3)) == 1 + 4
    assert store.intact(item).hash == content


def test_what_only_looks_like_a_footer_is_none(store) -> None:
    item = Blob("tables/x.parquet", (0, 0, 0))
    body = b"x" * 50 + (1 << 30).to_bytes(4, "little") + b"PAR1"
    store.files.put(item.path, body)
    assert store.stamp(item) is None
    stamp = Stamp("t", (0, 0, 0), "key", "hash")
    store.files.put(item.path, body + encode_stamp(stamp))
    assert store.stamp(item) == stamp


def test_an_object_that_never_rests_is_read_a_bounded_number_of_times(s3, store) -> None:
    item, _ = put(store, noise())
    seeds = iter(range(1, 100))
    between(s3, lambda: s3.replace(PATH, encoded(store, noise(next(seeds)))[1]), times=99)
    with pytest.raises(Replaced, match="replaced while it was read"):
        store.intact(item)
    assert next(seeds) == MAX_OPENINGS + 1
