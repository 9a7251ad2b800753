"""The files that a viewer reads, each read noted: what has changed since gets a new address.

A viewer keeps what it has read, also that a chunk was not there. So the address of a group holds a
version, which rises when a file that was asked for is another one now, or has come or gone. Under
one version a file is always the same, or not there: never half an old chunk and half a new one.
"""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MAX_NOTED = 20_000  # reads per group that are looked at again: 0.1 s of looking; older ones are not

Mark = tuple[int, int, int] | None  # inode, time of change, size; None: not there
ABSENT: Mark = None


class Opened(NamedTuple):
    """An open file; whoever gets it closes it."""

    descriptor: int
    size: int
    mark: Mark


class VersionedFiles:
    """The files of some groups below a folder; safe to use from several threads."""

    def __init__(self, root: Path, groups: Sequence[str]) -> None:
        self._root = root.resolve()
        self._lock = threading.Lock()
        self._noted: dict[str, OrderedDict[str, Mark]] = {g: OrderedDict() for g in groups}
        self._versions = dict.fromkeys(groups, 1)

    def add(self, group: str) -> None:
        """Show one more group."""
        with self._lock:
            self._noted.setdefault(group, OrderedDict())
            self._versions.setdefault(group, 1)

    def version(self, group: str) -> int:
        """Return the version that the address of a group must hold now."""
        with self._lock:
            return self._versions[group]

    def open(self, version: int, path: str) -> Opened | None:
        """Open a file of a group by its path below the folder; None if it is not to be had.

        That is: not there, not of a group that is shown, of another version, or changed since it
        was read under this one.
        """
        group = self._group(path)
        if group is None or version != self.version(group) or not self._below(path):
            return None
        found = self._find(path)
        mark = found.mark if found else ABSENT
        with self._lock:
            noted = self._noted[group]
            known = noted.setdefault(path, mark)
            noted.move_to_end(path)
            if len(noted) > MAX_NOTED:
                noted.popitem(last=False)
            same = known == mark and version == self._versions[group]
        if found and not same:
            os.close(found.descriptor)
            return None
        return found

    def look(self) -> bool:
        """Raise the versions of groups of which something read is another now; whether any is."""
        changed = False
        with self._lock:
            noted = {group: dict(marks) for group, marks in self._noted.items()}
        for group, marks in noted.items():
            if any(self._mark(path) != mark for path, mark in marks.items()):
                changed = True
                with self._lock:
                    self._versions[group] += 1
                    self._noted[group].clear()
        return changed

    def _group(self, path: str) -> str | None:
        """Return the group that a path lies in; None of a path that tries to leave it."""
        parts = path.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            return None
        with self._lock:
            groups = list(self._versions)
        for group in groups:
            if not group or path.startswith(group + "/"):
                return group
        return None

    def _below(self, path: str) -> bool:
        """Whether a path stays below the folder: a link is a way out as well as two dots."""
        try:
            return (self._root / path).resolve().is_relative_to(self._root)
        except (OSError, RuntimeError):  # RuntimeError: a ring of links
            return False

    def _find(self, path: str) -> Opened | None:
        try:
            # Not blocking: a pipe in the place of a file would wait for someone to write.
            descriptor = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            return None
        return Opened(descriptor, state.st_size, _marked(state))

    def _mark(self, path: str) -> Mark:
        try:
            state = (self._root / path).stat()
        except OSError:
            return ABSENT
        return _marked(state) if stat.S_ISREG(state.st_mode) else ABSENT


def _marked(state: os.stat_result) -> Mark:
    return state.st_ino, state.st_mtime_ns, state.st_size
