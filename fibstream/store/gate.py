"""The gate: which addresses a service reads for a client, and how every file is opened.

A user's own commands read what the user may read (``FREE``).  A service reads what its operator has
allowed: folders, and prefixes of buckets.  An address is parsed, resolved to the end of its links,
and only then compared; each file is compared once more after it was opened, by what was opened.
"""

import errno
import os
import re
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast
from urllib.parse import unquote

from fibstream.core.errors import NotFound, WrongUse

MAX_ADDRESS = 4096  # characters: what Linux takes for a path
SHOWN = 200  # characters of an address in a message
FORMS = "expected /PATH, file:///PATH, s3://BUCKET/KEY or gs://BUCKET/KEY, and #INSIDE"
BUCKETS = ("s3", "gs")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")  # S3 and Google together
# Servers and libraries differ in what they make of these: encoded, query, folders up.
_UNSAFE_KEY = re.compile(r"[%?\\]|(^|/)\.{0,2}(/|$)")


class Address(NamedTuple):
    """Where a volume lies: an absolute path or a URL, and the array inside it."""

    place: str
    inside: str = ""


def parse(text: str) -> Address:
    """Return an address as it is written, links not followed; raise WrongUse where it is none.

    Of a path the # is left in ``place``: only the file system knows whether it is part of a name.
    """
    if len(text) > MAX_ADDRESS:
        raise WrongUse(f"source of {len(text)} characters: expected at most {MAX_ADDRESS}")
    if _CONTROL.search(text):
        raise WrongUse(f"source {text!r:.{SHOWN}}: it holds a control character; {FORMS}")
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    if scheme in BUCKETS and text[len(scheme) :].startswith("://"):
        place, _, inside = text.partition("#")
        bucket, _, key = place[len(scheme) + 3 :].partition("/")
        key = key.removesuffix("/")
        if not _BUCKET.fullmatch(bucket) or not key or _UNSAFE_KEY.search(key):
            raise WrongUse(f"source {text!r:.{SHOWN}}: expected {scheme}://BUCKET/KEY, plain names")
        return Address(f"{scheme}://{bucket}/{key}", _checked_inside(text, inside))
    if scheme == "file":
        rest = text[len("file:") :]
        for lead in ("//localhost/", "///"):
            if rest.lower().startswith(lead):
                return _of_path(text, f"/{_decoded(rest[len(lead) :])}")
    if scheme or not text.startswith("/"):
        raise WrongUse(f"source {text!r:.{SHOWN}}: no address that services read; {FORMS}")
    return _of_path(text, text)


def _decoded(path: str) -> str:
    """Return a path without percent codes; what is no UTF-8 becomes a control character."""
    return unquote(path, errors="replace").replace("\ufffd", "\0")


def _of_path(text: str, path: str) -> Address:
    """Return the address of an absolute path; decoding may have brought control characters."""
    if _CONTROL.search(path):
        raise WrongUse(f"source {text!r:.{SHOWN}}: it holds a control character; {FORMS}")
    return Address("/" + path.lstrip("/"))  # two slashes in front may mean another machine


def _checked_inside(text: str, inside: str) -> str:
    """Return the part after the #, without slashes at its ends; it leads down and nowhere else."""
    inside = inside.strip("/")
    # A parenthesis begins a regular expression for slices: one of a stranger's may never end.
    if inside and (_UNSAFE_KEY.search(inside) or "(" in inside):
        raise WrongUse(f"source {text!r:.{SHOWN}}: expected a group or array after the #")
    return inside


@dataclass(frozen=True)
class Gate:
    """What may be read: everything (``free``), or what lies below folders and prefixes.

    Attributes
    ----------
    folders : tuple of str
        Absolute, links resolved.
    prefixes : tuple of str
        ``s3://BUCKET/PREFIX/`` or ``gs://BUCKET/PREFIX/``.
    """

    folders: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    free: bool = False

    def admit(self, text: str) -> Address:
        """Return the resolved address that a client has sent.

        Raises WrongUse for one outside, or of no regular file or folder; NotFound where nothing is.
        Nothing outside is told apart: neither whether it exists, nor what it is.
        """
        address = parse(text)
        if not address.place.startswith("/"):
            if not self.allows_url(f"{address.place}/"):
                raise self._outside(text)
            return address
        path, mark, inside = address.place.rpartition("#")
        whole = os.path.realpath(address.place)
        if not mark or (self._below(whole) and os.path.lexists(whole)):
            path, inside = address.place, ""
        place, inside = os.path.realpath(path), _checked_inside(text, inside)
        if not self._below(place):
            raise self._outside(text)
        if _is_folder(place, text) and not self._below(os.path.realpath(f"{place}/{inside}")):
            raise self._outside(text)
        return Address(place, inside)

    def allows(self, path: Path) -> bool:
        """Whether a path leads to what may be read, once links are followed."""
        return self.free or self._below(os.path.realpath(path))

    def allows_url(self, url: str) -> bool:
        """Whether what lies below a URL, which ends with a slash, may be read."""
        return self.free or any(url.startswith(prefix) for prefix in self.prefixes)

    def open(self, path: Path) -> BinaryIO:
        """Open a regular file for reading; never waits for the writer of a pipe.

        Raises WrongUse for what is no regular file or lies outside, OSError where it cannot be
        opened. What is compared is the file that was opened, whatever has its name by then.
        """
        file = cast("BinaryIO", open(path, "rb", opener=_open_regular))  # noqa: SIM115
        if self.free or self._below(_path_of(file.fileno(), path)):
            return file
        file.close()
        raise WrongUse(f"{path}: a link that leaves the server's source roots")

    def check(self, path: Path) -> None:
        """Raise WrongUse unless a path is of a regular file that may be read, or of none.

        For libraries that open by themselves: what it finds may have changed when they do.
        """
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return
        if not regular:
            raise WrongUse(f"{path} is no regular file")
        if not self.allows(path):
            raise WrongUse(f"{path}: a link that leaves the server's source roots")

    def _below(self, real: str) -> bool:
        return any(real == each or real.startswith(each.rstrip("/") + "/") for each in self.folders)

    def _outside(self, text: str) -> WrongUse:
        roots = ", ".join((*self.folders, *self.prefixes)) or "none"
        return WrongUse(f"source {text!r:.{SHOWN}}: outside the server's source roots ({roots})")


FREE = Gate(free=True)


def gate_of(roots: Iterable[str | Path]) -> Gate:
    """Return the gate of a service's ``--source``; raise WrongUse for what is no root."""
    folders, prefixes = [], []
    for root in map(str, roots):
        if root.partition("://")[0].lower() in BUCKETS:
            prefixes.append(_prefix(root))
            continue
        folder = parse(root).place if _SCHEME.match(root) else root
        if not root or not Path(folder).is_dir():
            raise WrongUse(f"--source {root}: not a folder, s3://BUCKET/PREFIX or gs://..")
        folders.append(os.path.realpath(folder))
    return Gate(tuple(folders), tuple(prefixes))


def _prefix(root: str) -> str:
    """Return what all URLs below a bucket or a prefix of it begin with."""
    try:
        place, inside = parse(f"{root.removesuffix('/')}/x")
    except WrongUse:
        place, inside = "", root
    if inside or "#" in root:
        raise WrongUse(f"--source {root}: expected s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
    return place.removesuffix("x")


def _is_folder(place: str, text: str) -> bool:
    """Whether an admitted path is a folder; raises unless it is one, or a regular file."""
    try:
        mode = Path(place).stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound(f"source {text!r:.{SHOWN}}: no such file or folder") from None
        raise WrongUse(f"source {text!r:.{SHOWN}}: {error.strerror}") from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise WrongUse(f"source {text!r:.{SHOWN}}: no regular file or folder")
    return stat.S_ISDIR(mode)


def _open_regular(path: str, flags: int) -> int:
    """Open for ``open``; without O_NONBLOCK a pipe would wait for a writer, maybe for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise WrongUse(f"{path} is no regular file")


def _path_of(descriptor: int, path: Path) -> str:
    """Return where an open file lies, links resolved: the kernel knows it, whatever moved since."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:  # no /proc here
        return os.path.realpath(path)
