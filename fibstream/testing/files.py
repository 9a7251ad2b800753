"""The contract suite of the port ``Files``: whole files, read in one generation.

::

    import pytest
    from fibstream.testing.files import FilesTests

    class TestMyFiles(FilesTests):
        holds = False  # a handle of a replaced file raises Replaced

        @pytest.fixture
        def connect(self, tmp_path):
            return lambda name: MyFiles(tmp_path / name)
"""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from fibstream.core.ports import Files, Generation, Replaced

from .files_machine import FilesMachine

NAMES = [
    *("sp ace", "pl+us", "pc%41t", "am&p<l>t", "qu'o\"te", "ünï/cödé", "semi;colon", "q?mark"),
    *("ha#sh", "star*", "tilde~", "comma,=", "br[ack]et", "at@", "0.0.0", "zarr.json"),
]
RANGES = [(0, 3), (3, 10), (8, 99), (10, 12), (4, 4), (5, 3)]

Connect = Callable[[str], Files]


def read(files: Files, path: str) -> bytes | None:
    """Return a whole file."""
    handle = files.open(path)
    if handle is None:
        return None
    try:
        return handle.read(0, handle.size)
    finally:
        handle.close()


def generation(files: Files, path: str) -> Generation:
    """Return what names the file now."""
    handle = files.open(path)
    assert handle is not None
    handle.close()
    return handle.generation


class FilesTests:
    """Every store of files: ``connect`` is to be set, the others where the defaults do not fit.

    Attributes
    ----------
    holds : bool
        A handle keeps what it opened, whatever happens to the name; otherwise it raises Replaced.
    by_content : bool
        The same bytes put again are the same generation; otherwise each put is another.
    private : str
        Paths that begin with this are the store's own: they are not compared in listings.
    block : int
        Bytes around which a file is read otherwise, such as what comes with the opening.
    machine : settings
        How many schedules, of how many steps, are tried by ``files_machine``.
    """

    holds = True
    by_content = False
    private = "\0"
    block = 16 * 1024
    machine = settings(
        max_examples=20, stateful_step_count=40, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    @pytest.fixture
    def connect(self) -> Connect:
        """Return a function that opens the files of a name: none at first, the same each time."""
        raise NotImplementedError("a suite needs the fixture `connect`")

    @pytest.fixture
    def files(self, connect: Connect) -> Files:
        """No files yet."""
        return connect("new")

    @property
    def long(self) -> bytes:
        """More than a block."""
        return bytes(range(256)) * (self.block // 128)

    def listed(self, files: Files, prefix: str = "") -> list[str]:
        """Return the paths that were put."""
        return [path for path in files.list(prefix) if not path.startswith(self.private)]

    # -- reading -----------------------------------------------------------------------------------

    def test_a_file_that_is_not_there_opens_as_none(self, files: Files) -> None:
        """Nor is there one below another."""
        assert files.open("a") is None
        files.put("a", b"x")
        assert files.open("a/b") is None
        assert files.open("b/c/d") is None

    def test_a_put_is_read_back_and_replaces_all_of_it(self, files: Files) -> None:
        """Longer or shorter than before."""
        long, block = self.long, self.block
        for data in (b"a long content", long, b"short", b"", long[::-1], long[:block]):
            assert files.put("deep/er/a", data)
            assert read(files, "deep/er/a") == data

    def test_ranges_are_half_open_and_end_with_the_file(self, files: Files) -> None:
        """One by one and together."""
        files.put("a", b"0123456789")
        handle = files.open("a")
        assert handle is not None
        found = [handle.read(*r) for r in RANGES]
        assert found == [b"012", b"3456789", b"89", b"", b"", b""]
        assert handle.parts(RANGES) == found
        assert handle.parts([]) == []
        assert handle.size == 10
        assert [handle.read(*r) for r in RANGES] == found
        handle.close()

    def test_ranges_of_a_long_file_need_not_know_its_size(self, files: Files) -> None:
        """Inside, over its end, and beyond."""
        long, size = self.long, len(self.long)
        files.put("a", long)
        inside = [(3, 700), (700, 701), (0, 3), (self.block // 2, self.block), (size - 5, size),
                  (9, 9)]  # fmt: skip
        over = [(5, 7), (size - 5, size + 1), (size + 3, size + 4)]
        for ranges in (inside, over, inside):
            handle = files.open("a")
            assert handle is not None
            expected = [long[start:stop] for start, stop in ranges]
            assert handle.parts(ranges) == expected
            assert [handle.read(*r) for r in ranges] == expected
            handle.close()

    @pytest.mark.parametrize("length", [0, 10, None], ids=["empty", "short", "long"])
    def test_the_end_of_a_file_is_as_much_as_there_is(
        self, files: Files, length: int | None
    ) -> None:
        """All of it where more is wanted."""
        data = self.long[:length]
        files.put("a", data)
        for counts in ((0, 4), (self.block + 1, 7), (4 * self.block, 1)):
            handle = files.open("a")
            assert handle is not None
            assert [handle.end(n) for n in counts] == [
                data[max(len(data) - n, 0) :] for n in counts
            ]
            handle.close()

    # -- generations -------------------------------------------------------------------------------

    @pytest.mark.parametrize("length", [6, None], ids=["short", "long"])
    def test_a_handle_never_leaves_its_generation(self, files: Files, length: int | None) -> None:
        """Whatever it returns is of what it opened."""
        before = self.long[:length]
        after = before[::-1] + b"!"
        changes: list[Callable[[], object]]
        changes = [lambda: files.put("a", after), lambda: files.delete("a")]
        for change in changes:
            files.put("a", before)
            handle = files.open("a")
            assert handle is not None
            change()
            for answer, expected in (
                (lambda h: h.read(1, 5), before[1:5]),
                (lambda h: h.end(len(before)), before),
                (lambda h: b"".join(h.parts([(0, 2), (3, 4)])), before[:2] + before[3:4]),
                (lambda h: h.read(0, h.size), before),
            ):
                try:
                    assert answer(handle) == expected
                except Replaced:
                    assert not self.holds
            handle.close()

    def test_another_content_is_another_generation(self, files: Files) -> None:
        """And none is that of no file."""
        seen = set()
        for data in (b"1", b"2", self.long, self.long[::-1], b""):
            files.put("a", data)
            seen.add(generation(files, "a"))
        assert len(seen) == 5
        assert () not in seen

    def test_a_generation_names_one_put_or_one_content(self, files: Files) -> None:
        """As ``by_content`` has it."""
        held, seen = [], set()
        for _ in range(5):
            files.put("a", b"x")
            handle = files.open("a")
            assert handle is not None
            held.append(handle)
            seen.add(handle.generation)
        assert len(seen) == 1 if self.by_content else len(seen) == 5
        assert generation(files, "a") == held[-1].generation
        for handle in held:
            handle.close()

    def test_a_put_over_the_expected_generation_only(self, files: Files) -> None:
        """Any other one is left as it is."""
        assert not files.put("a", b"x", expected=(7,))
        assert files.open("a") is None
        assert files.put("a", b"1", expected=())
        assert not files.put("a", b"2", expected=())
        assert not files.put("a", b"2", expected=(7,))
        first = files.open("a")
        assert first is not None
        assert files.put("a", b"3", expected=first.generation)
        assert not files.put("a", b"4", expected=first.generation)
        first.close()
        assert read(files, "a") == b"3"
        assert files.put("a", b"5")
        assert read(files, "a") == b"5"

    def test_another_connection_has_the_same_generations(
        self, connect: Connect, files: Files
    ) -> None:
        """Of two that put over one generation, one succeeds."""
        other = connect("new")
        files.put("a", b"1")
        before = generation(other, "a")
        assert generation(files, "a") == before
        assert other.put("a", b"2", expected=before)
        assert not files.put("a", b"3", expected=before)
        assert read(files, "a") == b"2"
        other.delete("a")
        assert files.open("a") is None

    # -- deleting and listing ----------------------------------------------------------------------

    def test_deleting_is_repeatable(self, files: Files) -> None:
        """So is deleting what never was."""
        files.put("a", b"x")
        files.delete("a")
        files.delete("a")
        files.delete("never/was")
        assert files.open("a") is None
        assert files.put("a", b"y", expected=())

    def test_a_deleted_file_is_not_the_generation_it_was(self, files: Files) -> None:
        """Nothing is put over it, nor over the next file of its name."""
        files.put("a", b"x")
        before = generation(files, "a")
        files.delete("a")
        assert not files.put("a", b"y", expected=before)
        assert files.open("a") is None
        files.put("a", b"yy")
        assert not files.put("a", b"z", expected=before)

    def test_a_listing_is_in_the_order_of_the_paths(self, files: Files) -> None:
        """All below a folder, none beside it."""
        paths = ["a/b/c", "a/b.txt", "a/z", "a/10", "a/9/1", "a/b/10", "ab/c", "b"]
        for path in paths:
            files.put(path, b"")
        assert list(files.list("a")) == sorted(p for p in paths if p.startswith("a/"))
        assert list(files.list("a/")) == list(files.list("a"))
        assert list(files.list("a/b")) == ["a/b/10", "a/b/c"]
        assert list(files.list("nothing/here")) == []
        assert self.listed(files) == sorted(paths)
        files.delete("a/b/c")
        files.delete("a/b/10")
        assert list(files.list("a/b")) == []

    def test_names_may_hold_any_printed_character(self, files: Files) -> None:
        """As they are put, they are listed, read and deleted."""
        for name in NAMES:
            files.put(f"some/{name}", name.encode())
        assert self.listed(files, "some") == sorted(f"some/{name}" for name in NAMES)
        assert [read(files, f"some/{name}") for name in NAMES] == [n.encode() for n in NAMES]
        for name in NAMES:
            files.delete(f"some/{name}")
        assert self.listed(files, "some") == []

    def test_a_refused_put_leaves_nothing_behind(self, files: Files) -> None:
        """No temporary file, and no folder that is listed."""
        files.put("a/1", b"x")
        assert not files.put("a/2", b"y", expected=(7,))
        assert list(files.list("a")) == ["a/1"]

    def test_any_schedule_is_that_of_a_dict(self, connect: Connect) -> None:
        """Puts, deletions, listings and open handles in any order, held against a model."""
        run_state_machine_as_test(lambda: FilesMachine(self, connect), settings=self.machine)  # type: ignore[arg-type]
