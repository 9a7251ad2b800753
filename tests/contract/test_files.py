"""What the core asks of files, of every adapter alike: replaced whole, read in one generation."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibstream.bus.memory import MemoryFiles
from fibstream.core.ports import Moved
from fibstream.store.local import PRIVATE, LocalFiles
from fibstream.store.remote import LOOK, RemoteFiles, open_files

from ..support.s3 import BUCKET, Weed, environment, moto

HOLDS = ("memory", "local")  # a handle keeps what it opened, whatever happens to the name
ETAGS = ("moto", "weed")  # the same bytes put again are the same generation
KINDS = (*HOLDS, "kvstore-memory", "kvstore-file", *ETAGS)
NUMBERS = itertools.count()
LONG = bytes(range(256)) * (LOOK // 128)  # more than comes with the opening
NAMES = [
    *("sp ace", "pl+us", "pc%41t", "am&p<l>t", "qu'o\"te", "ünï/cödé", "semi;colon", "q?mark"),
    *("ha#sh", "star*", "tilde~", "comma,=", "br[ack]et", "at@", "0.0.0", "zarr.json"),
]


@pytest.fixture(scope="module")
def memory_server():
    with moto() as server:
        server.bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def disk_server():
    server = Weed()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def files(kind, tmp_path, request, monkeypatch):
    if kind == "memory":
        return MemoryFiles()
    if kind == "local":
        (tmp_path / "new.zarr").mkdir()
        return LocalFiles(tmp_path / "new.zarr")
    if kind == "kvstore-memory":
        return RemoteFiles({"driver": "memory", "path": "new.zarr/"}, "memory")
    if kind == "kvstore-file":
        return RemoteFiles({"driver": "file", "path": f"{tmp_path}/new.zarr/"}, "file")
    server = request.getfixturevalue("memory_server" if kind == "moto" else "disk_server")
    for name, value in environment(server.endpoint).items():
        monkeypatch.setenv(name, value)
    return open_files(f"s3://{BUCKET}/folder/{next(NUMBERS)}.zarr")


def read(files, path):
    handle = files.open(path)
    if handle is None:
        return None
    try:
        return handle.read(0, handle.size)
    finally:
        handle.close()


def generation(files, path):
    handle = files.open(path)
    handle.close()
    return handle.generation


def test_a_file_that_is_not_there_opens_as_none(files):
    assert files.open("a") is None
    files.put("a", b"x")
    assert files.open("a/b") is None
    assert files.open("b/c/d") is None


def test_a_put_is_read_back_and_replaces_all_of_it(files):
    for data in (b"a long content", LONG, b"short", b"", LONG[::-1], LONG[:LOOK], LONG[:-LOOK]):
        assert files.put("deep/er/a", data)
        assert read(files, "deep/er/a") == data


RANGES = [(0, 3), (3, 10), (8, 99), (10, 12), (4, 4), (5, 3)]


def test_ranges_are_half_open_and_end_with_the_file(files):
    files.put("a", b"0123456789")
    handle = files.open("a")
    found = [handle.read(*r) for r in RANGES]
    assert found == [b"012", b"3456789", b"89", b"", b"", b""]
    assert handle.parts(RANGES) == found
    assert handle.parts([]) == []
    assert handle.size == 10
    assert [handle.read(*r) for r in RANGES] == found
    handle.close()


def test_ranges_of_a_long_file_need_not_know_its_size(files):
    files.put("a", LONG)
    inside = [(3, 700), (700, 701), (0, 3), (LOOK // 2, LOOK), (len(LONG) - 5, len(LONG)), (9, 9)]
    over = [(5, 7), (len(LONG) - 5, len(LONG) + 1), (len(LONG) + 3, len(LONG) + 4)]
    for ranges in (inside, over, inside):
        handle = files.open("a")
        assert handle.parts(ranges) == [LONG[start:stop] for start, stop in ranges]
        assert [handle.read(*r) for r in ranges] == [LONG[start:stop] for start, stop in ranges]
        handle.close()


@pytest.mark.parametrize("data", [b"", b"0123456789", LONG], ids=len)
def test_the_end_of_a_file_is_as_much_as_there_is(files, data):
    files.put("a", data)
    for counts in ((0, 4), (LOOK + 1, 7), (2 * len(LONG), 1)):
        handle = files.open("a")
        assert [handle.end(n) for n in counts] == [data[max(len(data) - n, 0) :] for n in counts]
        handle.close()


@pytest.mark.parametrize("before", [b"before", LONG], ids=["short", "long"])
def test_a_handle_never_leaves_its_generation(files, kind, before):
    files.put("a", before)
    after = before[::-1] + b"!"
    changes = (lambda: files.put("a", after), lambda: files.delete("a"))
    for change in changes:
        files.put("a", before)
        handle = files.open("a")
        change()
        for look, expected in (
            (lambda h: h.read(1, 5), before[1:5]),
            (lambda h: h.end(len(before)), before),
            (lambda h: h.parts([(0, 2), (3, 4)]), [before[:2], before[3:4]]),
            (lambda h: h.read(0, h.size), before),
        ):
            try:
                assert look(handle) == expected
            except Moved:
                assert kind not in HOLDS
        handle.close()


def test_another_content_is_another_generation(files):
    seen = set()
    for data in (b"1", b"2", LONG, LONG[::-1], b""):
        files.put("a", data)
        seen.add(generation(files, "a"))
    assert len(seen) == 5
    assert () not in seen


def test_a_generation_names_one_put_or_one_content(files, kind):
    held, seen = [], set()
    for _ in range(5):
        files.put("a", b"x")
        held.append(files.open("a"))
        seen.add(held[-1].generation)
    assert len(seen) == 1 if kind in ETAGS else len(seen) == 5
    assert generation(files, "a") == held[-1].generation
    for handle in held:
        handle.close()


def test_a_put_over_the_expected_generation_only(files):
    assert not files.put("a", b"x", expected=(7,))
    assert files.open("a") is None
    assert files.put("a", b"1", expected=())
    assert not files.put("a", b"2", expected=())
    assert not files.put("a", b"2", expected=(7,))
    first = files.open("a")
    assert files.put("a", b"3", expected=first.generation)
    assert not files.put("a", b"4", expected=first.generation)
    first.close()
    assert read(files, "a") == b"3"
    assert files.put("a", b"5")
    assert read(files, "a") == b"5"


def test_deleting_is_repeatable(files):
    files.put("a", b"x")
    files.delete("a")
    files.delete("a")
    files.delete("never/was")
    assert files.open("a") is None
    assert files.put("a", b"y", expected=())


def test_a_deleted_file_is_not_the_generation_it_was(files):
    files.put("a", b"x")
    before = generation(files, "a")
    files.delete("a")
    assert not files.put("a", b"y", expected=before)
    assert files.open("a") is None


def listed(files, prefix=""):
    return [path for path in files.list(prefix) if not path.startswith(PRIVATE)]


def test_a_listing_is_in_the_order_of_the_paths(files):
    paths = ["a/b/c", "a/b.txt", "a/z", "a/10", "a/9/1", "a/b/10", "ab/c", "b"]
    for path in paths:
        files.put(path, b"")
    assert list(files.list("a")) == sorted(p for p in paths if p.startswith("a/"))
    assert list(files.list("a/")) == list(files.list("a"))
    assert list(files.list("a/b")) == ["a/b/10", "a/b/c"]
    assert list(files.list("nothing/here")) == []
    assert listed(files) == sorted(paths)
    files.delete("a/b/c")
    files.delete("a/b/10")
    assert list(files.list("a/b")) == []


def test_names_may_hold_any_printed_character(files):
    for name in NAMES:
        files.put(f"some/{name}", name.encode())
    assert listed(files, "some") == sorted(f"some/{name}" for name in NAMES)
    assert [read(files, f"some/{name}") for name in NAMES] == [name.encode() for name in NAMES]
    for name in NAMES:
        files.delete(f"some/{name}")
    assert listed(files, "some") == []


def test_a_refused_put_leaves_nothing_behind(files):
    files.put("a/1", b"x")
    assert not files.put("a/2", b"y", expected=(7,))
    assert list(files.list("a")) == ["a/1"]


PATHS = st.sampled_from(["a", "folder/a", "folder/b", "folder/deep/c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PATHS, st.sampled_from([0, 1, LOOK])),
        st.tuples(st.just("put over"), PATHS, st.integers(0, 5)),
        st.tuples(st.just("put anew"), PATHS, st.just(0)),
        st.tuples(st.just("delete"), PATHS, st.just(0)),
        st.tuples(st.just("read"), PATHS, st.just(0)),
        st.tuples(st.just("list"), st.sampled_from(["folder", "", "folder/deep"]), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=12, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(steps=STEPS)
def test_any_sequence_gives_the_answers_of_the_files_in_memory(files, kind, steps):
    for path in listed(files):
        files.delete(path)
    model = MemoryFiles()
    known = {side: {} for side in ("model", "files")}  # the generations seen of each path
    answers = {
        side: [
            step(target, known[side], number, *given)
            for number, given in enumerate(steps)
        ]
        for side, target in (("model", model), ("files", files))
    }  # fmt: skip
    assert answers["files"] == answers["model"]


def step(files, known, number, action, path, more):
    """Take one step; every put has a content of its own, so that no generation can come back."""
    data = f"{number}".encode()
    if action == "put":
        return files.put(path, data + bytes(more))
    if action == "put anew":
        return files.put(path, data, expected=())
    if action == "put over":
        seen = known.get(path)
        return seen and files.put(path, data, expected=seen[more % len(seen)])
    if action == "delete":
        return files.delete(path)
    if action == "list":
        return listed(files, path)
    handle = files.open(path)
    if handle is None:
        return None
    if handle.generation not in known.setdefault(path, []):
        known[path].append(handle.generation)
    found = handle.end(3), handle.parts([(0, 1), (1, 9)]), handle.read(0, handle.size)
    handle.close()
    return found
