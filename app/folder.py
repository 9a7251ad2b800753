"""The folder of a dataset: opened, and locked by the run that writes it."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import Damaged, WrongUse
from fibstream.store.local import PRIVATE, LocalFiles
from fibstream.store.record import read_dataset

LOCK = f"{PRIVATE}/run.lock"
_OWNER = re.compile(r"process (\d+) on (\S+)")


def open_dataset(path: Path) -> tuple[LocalFiles, Dataset]:
    """Open a dataset of `run`; raise WrongUse when there is none at the path."""
    if not (path / RECORD).is_file():
        raise WrongUse(f"{path}: not a dataset of fibstream run{_suggestion(path)}")
    files = LocalFiles(path)
    try:
        return files, read_dataset(files)
    except Damaged as error:
        raise Damaged(f"{path}: {error}") from error


def _suggestion(path: Path) -> str:
    """Return what the user may have meant by a path at which there is nothing."""
    if path.exists():
        return ""
    if path.with_name(f"{path.name}.zarr").is_dir():
        return f"; did you mean {path}.zarr?"
    if len(path.parts) == 1 and not path.suffix:
        return "; for one of services give --server HOST"
    return "; there is no such folder"


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock of a dataset, which names this process and ends with it."""
    path = out / LOCK
    if not os.access(out, os.W_OK):
        raise WrongUse(f"{out}: cannot be written; what is found is noted in the dataset's log")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WrongUse(f"--out {out}: in use by {file.read().strip()}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield


def owner_of(path: Path) -> str | None:
    """Return the process that writes a dataset, such as ``process 4711 on host``, or None.

    This must not block a run that is about to start: the lock is only tried while the process
    that it names lives, which then nearly always holds it.
    """
    try:
        with (path / LOCK).open() as file:
            owner = file.read().strip()
            if not owner or _is_dead(owner):
                return None
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return owner
    except OSError:  # never run, or not readable
        return None
    return None


def _is_dead(owner: str) -> bool:
    """Whether a process of this machine has ended; False for one of another machine."""
    found = _OWNER.fullmatch(owner)
    if found is None or found[2] != os.uname().nodename:
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and belongs to another user
        return False
    return False
