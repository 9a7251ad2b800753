"""Whether the chunks that the metadata of an array promise are stored.

A chunk that is not stored reads as the fill value, mostly 0: that is legal (sparse arrays), and
also what a broken download looks like, or metadata that state another form of names.  All chunks
are looked for where there are few, else a fixed sample of them, so that the time is bounded for any
array: listing a bucket would name millions of files.
"""

import math
import os
import random
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse

from .chunk_files import SEPARATORS, ChunkFiles

SAMPLED = 1024  # files looked for in a folder: some milliseconds, on a share about a second
SAMPLED_REMOTE = 64  # in a bucket: one request each, all under way at a time
WALKED = 10_000  # files of an array in a folder, where none of the sample is there
SEED = 0  # the same chunks are looked for at each call

# Returns which of some files, named from the folder of the array, are stored.
Look = Callable[[Sequence[str]], list[bool]]


@dataclass(frozen=True)
class Presence:
    """How many chunks of an array are stored, of those looked for."""

    found: int
    looked: int
    total: int
    expected: str = ""  # the name of a chunk
    elsewhere: str = ""  # the name of a file that is a chunk, but not one that the metadata name
    certain: bool = True  # where none was found: none is there

    def note(self, name: str, *, needed: bool, fill: object = 0) -> str:
        """Return what a user should know, or an empty text; ``fill`` stands where no chunk is.

        Raises WrongUse where the chunks are elsewhere, or with ``needed`` where none is stored.
        """
        total, looked = f"{self.total:,}", f"{self.looked:,}"
        if self.found == self.looked:
            return ""
        if self.found:
            share = 100 * self.found / self.looked
            text = f"{share:.0f} %" if 1 <= share <= 99 else f"{share:.1f} %"
            if self.looked == self.total:
                known = f"{self.found:,} of its {total} chunks are stored ({text})"
            else:
                known = f"about {text} of its {total} chunks are stored ({looked} were looked for)"
            return f"{known}; the others read as {echo(fill, 20)}"
        if self.elsewhere:
            raise WrongUse(
                f"{name}: none of its {total} chunks is where its metadata say: they name "
                f"{self.expected}, but {self.elsewhere} is stored (see dimension_separator)"
            )
        if not self.certain:
            return f"of its {total} chunks {looked} were looked for, and none of them is stored"
        if needed:
            raise WrongUse(f"{name}: none of its {total} chunks is stored, its metadata alone are")
        return f"none of its {total} chunks is stored: it reads as {echo(fill, 20)}"


def presence_in_folder(files: ChunkFiles, folder: Path) -> Presence:
    """Return how many chunks of an array in a folder are stored."""
    looked = _presence(files, lambda names: [_is_there(folder / n) for n in names], SAMPLED)
    if looked.found or not looked.looked:
        return looked
    walked = list(islice(_walk(folder, ""), WALKED))
    if any(files.index(name) for name in walked):
        return replace(looked, certain=False)
    elsewhere = next((name for name in walked if _is_chunk_name(name)), "")
    return replace(looked, elsewhere=elsewhere, certain=len(walked) < WALKED)


def presence_in_bucket(files: ChunkFiles, store: Any) -> Presence:
    """Return how many chunks of an array in a bucket are stored; ``store`` is a KvStore of it."""
    import tensorstore

    def look(names: Sequence[str]) -> list[bool]:
        # The range of one key: nothing is read, and nothing else is listed.
        ranges = [tensorstore.KvStore.KeyRange(name, f"{name}\0") for name in names]
        pending = [store.list(each) for each in ranges]
        return [bool(found.result()) for found in pending]

    looked = _presence(files, look, SAMPLED_REMOTE)
    if looked.found or not looked.looked:
        return looked
    others = [_others(files, index) for index in islice(_sample(files, SAMPLED_REMOTE), 8)]
    names = [name for group in others for name in group]
    there = [name for name, found in zip(names, look(names), strict=True) if found]
    return replace(looked, elsewhere=(*there, "")[0], certain=looked.looked == looked.total)


def _presence(files: ChunkFiles, look: Look, limit: int) -> Presence:
    names = [files.name(index) for index in _sample(files, limit)]
    total = math.prod(files.counts)
    return Presence(sum(look(names)), len(names), total, names[0] if names else "")


def _sample(files: ChunkFiles, limit: int) -> Iterator[tuple[int, ...]]:
    """Yield the indices of all chunks, or of ``limit`` of them."""
    counts, total = files.counts, math.prod(files.counts)
    # A sample at even steps would look at one column of chunks alone.
    rng = random.Random(SEED)
    numbers = range(total) if total <= limit else (rng.randrange(total) for _ in range(limit))
    for number in numbers:
        index = []
        left = number
        for count in reversed(counts):
            left, place = divmod(left, count)
            index.append(place)
        yield tuple(reversed(index))


def _is_there(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)  # a folder is no chunk
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it is there; reading it says what is wrong
        return True


def _others(files: ChunkFiles, index: tuple[int, ...]) -> list[str]:
    """Return the names of a chunk in all other forms that metadata may state."""
    forms = [(prefix, mark) for prefix in ((), ("c",)) for mark in SEPARATORS]
    names = [
        replace(files, prefix=prefix, separator=mark).name(order)
        for prefix, mark in forms
        for order in (index, index[::-1])
    ]
    return [name for name in dict.fromkeys(names) if files.index(name) is None]


def _walk(folder: Path, within: str) -> Iterator[str]:
    """Yield the files below a folder, by their names from it, as they come."""
    try:
        entries = os.scandir(folder)
    except OSError:
        return
    with entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{within}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{name}/")
            else:
                yield name


def _is_chunk_name(name: str) -> bool:
    parts = name.replace("/", ".").split(".")
    parts = parts[1:] if parts[0] == "c" else parts
    return bool(parts) and all(part.isascii() and part.isdecimal() for part in parts)
