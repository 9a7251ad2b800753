"""What the core asks of files, of every adapter alike: replaced whole, read in one generation."""

import pytest

from fibstream.local import LocalFiles
from fibstream.memory import MemoryFiles


@pytest.fixture(params=["memory", "local"])
def files(request, tmp_path):
    return MemoryFiles() if request.param == "memory" else LocalFiles(tmp_path / "new.zarr")


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
    for data in (b"a long content", b"short", b""):
        assert files.put("deep/er/a", data)
        assert read(files, "deep/er/a") == data


def test_ranges_are_half_open_and_end_with_the_file(files):
    files.put("a", b"0123456789")
    handle = files.open("a")
    assert handle.size == 10
    ranges = [handle.read(*r) for r in ((0, 3), (3, 10), (8, 99), (10, 12), (4, 4), (5, 3))]
    assert ranges == [b"012", b"3456789", b"89", b"", b"", b""]
    handle.close()


def test_a_handle_keeps_its_generation(files):
    files.put("a", b"before")
    handle = files.open("a")
    files.put("a", b"the one after")
    assert handle.read(0, handle.size) == b"before"
    files.delete("a")
    assert handle.read(0, handle.size) == b"before"
    handle.close()


def test_every_put_is_another_generation_even_of_equal_content(files):
    seen = set()
    held = []
    for _ in range(5):
        files.put("a", b"x")
        held.append(files.open("a"))
        seen.add(held[-1].generation)
    assert len(seen) == 5
    assert () not in seen
    assert generation(files, "a") == held[-1].generation
    for handle in held:
        handle.close()


def test_a_put_over_the_expected_generation_only(files):
    assert not files.put("a", b"x", expected=(1,))
    assert files.open("a") is None
    assert files.put("a", b"1", expected=())
    assert not files.put("a", b"2", expected=())
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


def test_a_listing_is_in_the_order_of_the_paths(files):
    paths = ["a/b/c", "a/b.txt", "a/z", "a/10", "a/9/1", "a/b/10", "ab/c", "b"]
    for path in paths:
        files.put(path, b"")
    assert list(files.list("a")) == sorted(p for p in paths if p.startswith("a/"))
    assert list(files.list("a/b")) == ["a/b/10", "a/b/c"]
    assert list(files.list("nothing/here")) == []


def test_a_refused_put_leaves_nothing_behind(files):
    files.put("a/1", b"x")
    assert not files.put("a/2", b"y", expected=(7,))
    assert list(files.list("a")) == ["a/1"]
