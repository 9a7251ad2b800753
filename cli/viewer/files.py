"""The files that a viewer reads; what has changed since it was read gets a new address.

A browser caches what it has read, also that a chunk was missing. So the address of a group holds a
version, which rises when a file that was requested has been replaced, added or removed. Under one
version a file is always the same, or missing: never half an old chunk and half a new one.
"""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MAX_READS = 20_000  # per group that are checked for changes, the latest: it takes 0.1 s

Identity = tuple[int, int, int] | None  # inode, time of change, size; None: missing
MISSING: Identity = None


class Opened(NamedTuple):
    """An open file, to be closed by who receives it."""

    descriptor: int
    status: os.stat_result


class VersionedFiles:
    """The files of some groups below a folder; safe to use from several threads."""

    def __init__(self, root: Path, groups: Sequence[str]) -> None:
        self._root = root.resolve()
        self._lock = threading.Lock()
        self._reads: dict[str, OrderedDict[str, Identity]] = {g: OrderedDict() for g in groups}
        self._versions = dict.fromkeys(groups, 1)

    def add(self, group: str) -> None:
        """Serve one more group."""
        with self._lock:
            self._reads.setdefault(group, OrderedDict())
            self._versions.setdefault(group, 1)

    def version(self, group: str) -> int:
        """Return the version that the address of a group must hold now."""
        with self._lock:
            return self._versions[group]

    def open(self, version: int, path: str) -> Opened | None:
        """Open a file of a group by its path below the folder.

        None if it is missing, in no group that is served, of another version, or changed since it
        was read under this one.
        """
        group = self._group(path)
        if group is None or version != self.version(group) or not self._below(path):
            return None
        found = self._find(path)
        identity = _identity(found.status) if found else MISSING
        with self._lock:
            reads = self._reads[group]
            before = reads.setdefault(path, identity)
            reads.move_to_end(path)
            if len(reads) > MAX_READS:
                reads.popitem(last=False)
            same = before == identity and version == self._versions[group]
        if found and not same:
            os.close(found.descriptor)
            return None
        return found

    def refresh(self) -> bool:
        """Raise the versions of groups with a file that has changed; return whether any has."""
        changed = False
        with self._lock:
            groups = {group: dict(reads) for group, reads in self._reads.items()}
        for group, reads in groups.items():
            if any(self._identity_of(path) != before for path, before in reads.items()):
                changed = True
                with self._lock:
                    self._versions[group] += 1
                    self._reads[group].clear()
        return changed

    def _group(self, path: str) -> str | None:
        """Return the group that a path lies in; None if it may lead out of it."""
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
        """Whether a path stays below the folder once links are followed."""
        try:
            return (self._root / path).resolve().is_relative_to(self._root)
        except (OSError, RuntimeError):  # RuntimeError: links in a circle
            return False

    def _find(self, path: str) -> Opened | None:
        try:
            # Not blocking: a pipe in the place of a file would wait for a writer.
            descriptor = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return None
        return Opened(descriptor, status)

    def _identity_of(self, path: str) -> Identity:
        try:
            status = (self._root / path).stat()
        except OSError:
            return MISSING
        return _identity(status) if stat.S_ISREG(status.st_mode) else MISSING


def _identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_mtime_ns, status.st_size
