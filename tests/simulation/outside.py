"""The bus and the files that fail as real ones do: what they held is lost, flipped or cut short.

Both are the production adapters in memory, and go through their public methods alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator

from fibstream.bus.memory import MemoryBus, MemoryFiles, MemoryHandle
from fibstream.core.errors import NotFound
from fibstream.core.ports import Entry, Generation


class LossyBus(MemoryBus):
    """A bus whose log can lose entries; a waiting task is lost by ``discard``."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)  # no lease runs out: who sleeps is reclaimed from
        self._lost: set[int] = set()  # offsets

    def lose(self, entry: Entry) -> None:
        """Lose an entry of a log; a later one of its key is not affected."""
        self._lost.add(entry.offset)

    def waits(self, topic: str) -> bool:
        """Return whether a task waits on a queue: `waiting` lists them all."""
        return any(True for _ in self._waiting(topic))

    def read(self, topics: Collection[str], after: int, limit: int = 1000) -> list[Entry]:
        found = super().read(topics, after, limit + len(self._lost))
        return [entry for entry in found if entry.offset not in self._lost][:limit]

    def end(self, topics: Collection[str]) -> int:
        end = super().end(topics)
        return max((e.offset for e in self.all(topics)), default=0) if end in self._lost else end

    def all(self, topics: Collection[str]) -> list[Entry]:
        """Return every entry of these logs, in order."""
        return self.read(topics, 0, sys.maxsize - len(self._lost))


class DamagedFiles(MemoryFiles):
    """Files whose bytes can change beneath their generation, until the next put."""

    def __init__(self) -> None:
        super().__init__()
        self._damaged: dict[str, MemoryHandle] = {}
        self._paths: dict[str, None] = {}

    @property
    def paths(self) -> list[str]:
        """All paths, in the order of their first put."""
        return list(self._paths)

    def damage(self, path: str, change: Callable[[bytes], bytes]) -> None:
        """Change the bytes of a file, as it is now, and not its generation."""
        handle = self.open(path)
        assert handle is not None, path
        changed = change(handle.read(0, handle.size))
        self._damaged[path] = MemoryHandle(changed, handle.generation)

    def open(self, path: str) -> MemoryHandle | None:
        handle, damaged = super().open(path), self._damaged.get(path)
        if handle is None or damaged is None or handle.generation != damaged.generation:
            return handle
        return damaged

    def delete(self, path: str) -> None:
        super().delete(path)
        self._paths.pop(path, None)

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        done = super().put(path, data, expected)
        if done:
            self._paths.setdefault(path)
        return done


class Folder:
    """The folder of a dataset by its name: its files, and others once it is created anew."""

    def __init__(self) -> None:
        self.files = DamagedFiles()


class FolderFiles:
    """The files in the folder that is there now; none, as on disk, once another has its name."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files = folder.files

    @property
    def _there(self) -> bool:
        return self._folder.files is self._files

    def open(self, path: str) -> MemoryHandle | None:
        # By its path: of another folder it opens what is there, whose stamps and hashes differ.
        return self._folder.files.open(path)

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        if not self._there:
            raise NotFound("deleted just now")
        return self._files.put(path, data, expected)

    def delete(self, path: str) -> None:
        if not self._there:
            raise NotFound("deleted just now")
        self._files.delete(path)

    def list(self, prefix: str) -> Iterator[str]:
        yield from self._folder.files.list(prefix)


class NamedFiles(FolderFiles):
    """A mutant: whoever has the name of a folder writes into it."""

    @property
    def _there(self) -> bool:
        self._files = self._folder.files
        return True
