"""Disk usage of a dataset, the process that writes it, and its removal."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from fibstream.core.errors import Damaged, WrongUse
from fibstream.runtime.root import CATALOGUE, DELETED, SUFFIX, Root
from fibstream.runtime.supervisor import temporaries
from fibstream.store.local import PRIVATE

from .folder import locked, open_dataset, owner_of

GROUPS = ("raw", "predictions", "labels", "tables")  # counted apart; the rest is "other"


class Usage(NamedTuple):
    """Disk usage of a dataset by the lengths of its files."""

    groups: dict[str, int]  # bytes of GROUPS and of what is "other"
    temporaries: int  # bytes that writers are writing, or left when they were killed
    changed_s: float  # Unix time of the last change of anything that is not private


def usage(path: Path) -> Usage:
    """Return the disk usage of a dataset; one that is being written may change meanwhile."""
    groups = dict.fromkeys((*GROUPS, "other"), 0)
    changed_s = 0.0
    for name, state in _files(path):
        first = name.parts[0]
        groups[first if first in GROUPS else "other"] += state.st_size
        if first != PRIVATE:  # every reader touches the bus
            changed_s = max(changed_s, state.st_mtime)
    temporary = sum(state.st_size for _, state in temporaries(path))
    groups["other"] -= min(temporary, groups["other"])
    return Usage(groups, temporary, changed_s)


def _files(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):  # replaced or removed meanwhile
                yield file.relative_to(path), file.lstat()


def usage_report(path: Path) -> dict[str, Any]:
    """Return usage and owner as ``status --json`` has them."""
    found = usage(path)
    return {
        "bytes": found.groups,
        "temporary_bytes": found.temporaries,
        "changed": datetime.fromtimestamp(found.changed_s, UTC).isoformat(timespec="seconds"),
        "in_use_by": owner_of(path),
    }


def size_text(count: int) -> str:
    """Return a number of bytes for people, three digits: ``1.23 GB``."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"


def age_text(changed: str, now: datetime | None = None) -> str:
    """Return how long ago a time in ISO 8601 was, for people: ``3 h ago``."""
    age_s = ((now or datetime.now(UTC)) - datetime.fromisoformat(changed)).total_seconds()
    for unit, length_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if age_s >= 2 * length_s:
            return f"{age_s // length_s:.0f} {unit} ago"
    return f"{max(age_s, 0):.0f} s ago"


def delete_folder(path: Path) -> None:
    """Remove the folder of a dataset at once: it is moved away under its lock, then emptied.

    Raises WrongUse when it is no dataset, or a run is at work on it, which is named. One that lies
    below a root leaves its catalogue first: services that are at work on it let go of it. A damaged
    dataset can be deleted, and a link that leads nowhere.
    """
    path = path.resolve() if path.exists() else path.parent.resolve() / path.name
    check_deletable(path)
    gone = path.with_name(f".{path.name}.{uuid.uuid4().hex}{DELETED}")
    with _unused(path):
        if _is_listed(path):
            Root(str(path.parent)).leave(path.name.removesuffix(SUFFIX))
        path.rename(gone)
    if gone.is_symlink() or gone.is_file():
        gone.unlink()
    else:
        shutil.rmtree(gone)
    for left in path.parent.glob(f".{path.name}.*{DELETED}"):  # by a call that was killed
        shutil.rmtree(left, ignore_errors=True)


def check_deletable(path: Path) -> None:
    """Raise WrongUse for a path that is neither a dataset nor what a catalogue has as one."""
    with contextlib.suppress(Damaged):
        if not (_is_listed(path) and os.path.lexists(path)):
            open_dataset(path)


def _is_listed(path: Path) -> bool:
    """Whether a folder is a dataset by the catalogue of the root that it lies in."""
    name = path.name.removesuffix(SUFFIX)
    return name != path.name and (path.parent / CATALOGUE / name).is_file()


@contextlib.contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Hold the lock of a dataset; an error names it as the command does."""
    with contextlib.ExitStack() as held:
        try:
            if path.is_dir():  # a link to nowhere has none
                held.enter_context(locked(path))
        except WrongUse as error:
            raise WrongUse(str(error).removeprefix("--out ")) from None
        yield
