"""Files in a folder of this machine, replaced atomically and durably."""

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from fibstream.core.errors import DiskFull, NotFound, Retryable
from fibstream.core.ports import Generation

PRIVATE = ".fibstream"  # what is not part of the Zarr hierarchy

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)  # ENXIO: a socket

log = logging.getLogger(__name__)


class LocalHandle:
    """One generation of one file: an open descriptor still reads it after it was replaced."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        state = os.fstat(descriptor)
        self.size = state.st_size
        self.generation: Generation = (state.st_ino, state.st_mtime_ns, state.st_size)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)``."""
        return os.pread(self._descriptor, max(stop - start, 0), start)

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes."""
        return self.read(max(self.size - count, 0), self.size)

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ranges."""
        return [self.read(start, stop) for start, stop in ranges]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from others of its name; None where there is none."""
    with contextlib.suppress(OSError):
        state = folder.stat()
        return state.st_dev, state.st_ino
    return None


class LocalFiles:
    """Whole files below ``root``, a folder that must exist.

    ``put`` never makes it, so a late writer cannot bring back a dataset that was deleted; nor does
    it write into another folder of that name, as of a dataset that was deleted and created anew.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._identity = _identity(root)  # None: it is made later
        self._temporary = root / PRIVATE / "tmp"
        # Threads, processes and machines write below one root: each has temporaries of its own.
        self._writer = uuid.uuid4().hex
        self._numbers = itertools.count()

    def open(self, path: str) -> LocalHandle | None:
        """Open one generation of a file; None where there is none, but a folder or a pipe, say."""
        try:  # a pipe would block without O_NONBLOCK
            opened = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise Retryable(f"{self.root / path}: {error.strerror}") from error
        if stat.S_ISREG(os.fstat(opened).st_mode):
            return LocalHandle(opened)
        os.close(opened)
        return None

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        """Write a temporary file, sync it, and move it over the name.

        A folder of that name is set aside. Raises NotFound when the root is gone or another one.
        """
        target = self.root / path
        try:
            part = self._write(data)
            with contextlib.ExitStack() as stack:
                stack.callback(part.unlink, missing_ok=True)
                # After the temporary: if the root is replaced from here on, that is not in it.
                self._check_identity()
                if expected is not None:
                    stack.enter_context(self._locked())
                    if self._generation(target) != expected:
                        return False
                self._move(part, target)
        except OSError as error:
            if not self.root.is_dir():
                raise NotFound(f"{self.root}: not found, or deleted just now") from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"no space left for {target}") from error
            raise Retryable(f"{target}: {error.strerror}") from error
        return True

    def _check_identity(self) -> None:
        """Raise NotFound when the root is not the folder that it was."""
        found = _identity(self.root)
        self._identity = self._identity or found
        if found != self._identity:
            raise NotFound(f"{self.root}: not found, or deleted just now")

    def _write(self, data: bytes) -> Path:
        self._make(self._temporary)
        part = self._temporary / f"{self._writer}-{next(self._numbers)}"
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return part

    def _move(self, part: Path, target: Path) -> None:
        try:
            os.replace(part, target)
        except FileNotFoundError:
            self._make(target.parent)
            os.replace(part, target)
        except IsADirectoryError:
            self._set_aside(target)
            os.replace(part, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # without it the rename itself may be lost with the power
        finally:
            os.close(folder)

    def _set_aside(self, folder: Path) -> None:
        """Move a folder that lies where a file belongs: what somebody put there is not deleted."""
        aside = self.root / PRIVATE / "aside" / f"{self._writer}-{next(self._numbers)}"
        self._make(aside.parent)
        with contextlib.suppress(FileNotFoundError):  # another writer was faster
            folder.rename(aside)
            log.warning("%s: a folder where a file belongs; it is %s now", folder, aside)

    def _make(self, folder: Path) -> None:
        """Make a folder below the root, which must be there."""
        if folder != self.root and not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock under which generations are compared: a rename alone cannot compare."""
        with (self._temporary.parent / "put.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _generation(target: Path) -> Generation:
        try:
            state = target.stat()
        except OSError as error:
            if error.errno in _NOT_THERE:
                return ()
            raise
        if not stat.S_ISREG(state.st_mode):
            return ()  # as ``open`` says
        return (state.st_ino, state.st_mtime_ns, state.st_size)

    def delete(self, path: str) -> None:
        """Remove a file if it is there."""
        target = self.root / path
        self._check_identity()
        if target.is_dir() and not target.is_symlink():
            self._set_aside(target)
            return
        with contextlib.suppress(FileNotFoundError):
            target.unlink()

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths below a folder; raise Retryable for one that cannot be read."""
        yield from sorted(
            str((Path(folder) / name).relative_to(self.root))
            for folder, _, names in os.walk(self.root / prefix, onerror=_unreadable)
            for name in names
        )

    def sweep(self) -> None:
        """Remove the temporaries that killed processes left; only while no process writes."""
        if self._temporary.is_dir():
            for part in self._temporary.iterdir():
                part.unlink(missing_ok=True)


def _unreadable(error: OSError) -> None:
    """Pass over a folder that is not there, or no longer; nothing else counts as empty."""
    if error.errno not in _NOT_THERE:
        raise Retryable(f"{error.filename}: {error.strerror}") from error
