"""Any schedule of puts, deletions, listings and reads, each answer held against a dict."""

import itertools
from collections.abc import Callable
from typing import NamedTuple, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from fibstream.core.ports import Files, Generation, Handle, Replaced

OTHERS = ["a", "folder/a.b", "folder/deep/c", "folder.x", "folder2/a"]
PATHS = st.sampled_from(["folder/a"] * 5 + OTHERS)
FOLDERS = st.sampled_from(["", "folder", "folder/", "folder/deep", "folder2", "nothing"])
CONTENTS = st.sampled_from([b"x", b"yy", b"zz"])
PICKS = st.integers(0, 5)  # of what there is, the newest first
NOBODY: Generation = (-3, 7)  # a generation that no file ever has
NUMBERS = itertools.count()


class Suite(Protocol):
    """What the machine needs to know of a suite."""

    holds: bool
    by_content: bool
    block: int

    def listed(self, files: Files, prefix: str = "") -> list[str]:
        """Return the paths that were put."""


class Put(NamedTuple):
    """What a file holds since a put; where a generation names the content, the number is 0."""

    data: bytes
    number: int


class Opened(NamedTuple):
    """A handle and what it must return."""

    path: str
    handle: Handle
    put: Put


class FilesMachine(RuleBasedStateMachine):
    """Two connections to the same files, and a dict of what is in them."""

    def __init__(self, suite: Suite, connect: Callable[[str], Files]) -> None:
        super().__init__()
        self._suite = suite
        name = f"run{next(NUMBERS)}"
        self._connections = connect(name), connect(name)
        self._model: dict[str, Put] = {}
        self._known: list[tuple[str, Generation, Put | None]] = [
            ("a", NOBODY, None)
        ]  # generations seen of a path
        self._opened: list[Opened] = []
        self._puts = 0

    def _put(self, data: bytes, *, long: bool) -> Put:
        self._puts += 1
        data += bytes(self._suite.block if long else 0)
        return Put(data, 0 if self._suite.by_content else self._puts)

    @rule(by=st.integers(0, 1), path=PATHS, data=CONTENTS, long=st.booleans())
    def put(self, by: int, path: str, data: bytes, long: bool) -> None:
        """Put whatever is there."""
        put = self._put(data, long=long)
        assert self._connections[by].put(path, put.data)
        self._model[path] = put

    @rule(by=st.integers(0, 1), path=PATHS, data=CONTENTS)
    def put_anew(self, by: int, path: str, data: bytes) -> None:
        """Put only where no file is."""
        put = self._put(data, long=False)
        assert self._connections[by].put(path, put.data, expected=()) == (path not in self._model)
        self._model.setdefault(path, put)

    @rule(by=st.integers(0, 1), pick=PICKS, data=CONTENTS)
    def put_over(self, by: int, pick: int, data: bytes) -> None:
        """Put only over a generation that was seen once."""
        path, generation, seen = self._known[-1 - pick % len(self._known)]
        put = self._put(data, long=False)
        done = self._connections[by].put(path, put.data, expected=generation)
        assert done == (seen is not None and self._model.get(path) == seen)
        if done:
            self._model[path] = put

    @rule(by=st.integers(0, 1), path=PATHS)
    def delete(self, by: int, path: str) -> None:
        """Delete a file, there or not."""
        self._connections[by].delete(path)
        self._model.pop(path, None)

    @rule(by=st.integers(0, 1), folder=FOLDERS)
    def list(self, by: int, folder: str) -> None:
        """List a folder."""
        below = folder.rstrip("/") + "/" if folder else ""
        expected = sorted(path for path in self._model if path.startswith(below))
        assert self._suite.listed(self._connections[by], folder) == expected

    @rule(by=st.integers(0, 1), path=PATHS)
    def open(self, by: int, path: str) -> None:
        """Open a file."""
        handle = self._connections[by].open(path)
        assert (handle is None) == (path not in self._model)
        if handle is not None:
            self._opened.append(Opened(path, handle, self._model[path]))
            self._known.append((path, handle.generation, self._model[path]))

    @precondition(lambda self: self._opened)
    @rule(pick=PICKS, start=st.integers(0, 4), length=st.integers(0, 4), far=st.booleans(),
          whole=st.booleans())  # fmt: skip
    def read(self, pick: int, start: int, length: int, far: bool, whole: bool) -> None:
        """Read ranges, the end, or all of what was opened, by now perhaps replaced."""
        path, handle, put = self._opened[-1 - pick % len(self._opened)]
        start += self._suite.block if far else 0
        stop = start + length
        try:
            assert handle.read(start, stop) == put.data[start:stop]
            assert handle.parts([(0, 1), (start, stop)]) == [put.data[:1], put.data[start:stop]]
            assert handle.end(length) == put.data[max(len(put.data) - length, 0) :]
            if whole:
                assert handle.size == len(put.data)
        except Replaced:
            assert not self._suite.holds
            assert self._model.get(path) != put, "this is the generation that was opened"

    @precondition(lambda self: self._opened)
    @rule(pick=PICKS)
    def close(self, pick: int) -> None:
        """Close a handle."""
        self._opened.pop(-1 - pick % len(self._opened)).handle.close()

    def teardown(self) -> None:
        """Read all files, and close."""
        for path in self._model:
            self.open(0, path)
            self.read(0, 0, 4, False, True)
        self.list(1, "")
        for opened in self._opened:
            opened.handle.close()
