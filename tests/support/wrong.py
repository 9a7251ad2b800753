"""Wrong use of the command: exit 2, one line that names what is wrong, and nothing written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fibstream.core.dataset import Dataset

from .command import Answer, inside

CELL = Dataset(
    name="cell", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a case puts its files: nothing may change below ``folder`` during a call."""

    folder: Path

    def file(self, name: str, content: bytes | str = "mine") -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return all files and folders below a folder, with the contents of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def is_one_line(answer: Answer, pattern: str) -> None:
    """Check exit and message of a wrong use."""
    assert answer.code == 2, answer
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("fibstream: ") and re.search(pattern, lines[0]), lines[0]
    assert answer.out == ""


def is_rejected(folder: Path, arguments: Sequence[object], pattern: str) -> None:
    """Call the command, which must end with one line and leave a folder as it is."""
    before = tree(folder)
    is_one_line(inside(*arguments), pattern)
    assert tree(folder) == before
