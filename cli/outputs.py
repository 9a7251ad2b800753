"""Results of commands on disk: a Zarr group or a file, written whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.core.keys import canonical
from fibstream.core.stage import Output, OwnedArray
from fibstream.store import ngff
from fibstream.store.local import PRIVATE, LocalFiles
from fibstream.store.shard import Stamp
from fibstream.store.store import Store


class Volume:
    """A new multiscale group in a Zarr store; `blocks` are written whole, then moved into place."""

    def __init__(self, folder: Path, dataset: Dataset, outputs: Sequence[Output], key: str) -> None:
        self.store = Store(LocalFiles(folder), dataset.grid)
        self._outputs = {output.name: output for output in outputs}
        self._key = key
        documents = ngff.documents(dataset, [OwnedArray(o) for o in outputs])
        documents.setdefault("zarr.json", ngff.group())
        for path, document in documents.items():
            self.store.files.put(path, canonical(document))

    def writes(self, name: str) -> bool:
        """Whether it has an output of a name."""
        return name in self._outputs

    def write(
        self, name: str, index: Index, voxels: np.ndarray[Any, Any], *, absent: bool = False
    ) -> str:
        """Write one chunk of one output, absent if its input is; return its content hash."""
        stamp = Stamp(name, index, self._key, "")
        encoded = self.store.encode(self._outputs[name], voxels, stamp, absent=absent)
        for item, data, _ in encoded:
            self.store.files.put(item.path, data)
        return encoded[0][2]


@contextlib.contextmanager
def new_groups(out: Path, groups: Sequence[str], *, datasets: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``out``, whose groups and files are moved to it at the end.

    Raises WrongUse when ``out`` is no Zarr group, or a dataset of ``run``, unless ``datasets`` says
    that no stage writes these groups. After an error nothing is left.
    """
    check_group(out, datasets=datasets)
    temporary = out.absolute().parent / f".{out.name}.{os.getpid()}.part"
    try:
        temporary.mkdir()
        yield temporary
        _move(temporary, out, groups)
    except OSError as error:
        raise WrongUse(f"--out {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_group(out: Path, *, datasets: bool = False) -> None:
    """Raise WrongUse when groups cannot be written below ``out``, before they are computed."""
    if (out / RECORD).exists() and not datasets:
        raise WrongUse(f"--out {out}: is a dataset of fibstream run; expected another path")
    if out.exists() and not (out / "zarr.json").is_file():
        raise WrongUse(f"--out {out}: exists and is not a Zarr group; expected a new path")
    parent = out.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise WrongUse(f"--out {out}: {parent} is not a folder that can be written")


def _move(temporary: Path, out: Path, groups: Sequence[str]) -> None:
    shutil.rmtree(temporary / PRIVATE, ignore_errors=True)
    if not out.exists():
        temporary.rename(out)
        return
    files = [
        path.name for path in temporary.iterdir() if path.is_file() and path.name != "zarr.json"
    ]
    for name in files:
        (temporary / name).replace(out / name)
    for group in groups:
        target = out / group
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        (temporary / group).rename(target)
        parent = Path(group).parent / "zarr.json"
        if not (out / parent).exists():
            (temporary / parent).rename(out / parent)


def check_file(path: Path, flag: str = "--out", inputs: Sequence[str | Path | None] = ()) -> None:
    """Raise WrongUse when a file cannot be written, before its content is computed.

    Nor may it be one of the ``inputs``: paths, with ``#`` and what is inside or without.
    """
    for given in map(str, filter(None, inputs)):
        if any(path.exists() and Path(place).exists() and path.samefile(place)
               for place in (given, given.partition("#")[0])):  # fmt: skip
            raise WrongUse(f"{flag} {path}: would replace what is read; expected another file")
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise WrongUse(f"{flag} {path}: expected a new file in a folder that can be written")


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise WrongUse(f"--out {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
