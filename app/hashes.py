"""The published hashes of a dataset on disk."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box
from fibstream.services.analysis.table import rows_hash
from fibstream.store.local import LocalFiles
from fibstream.store.published import BOX, labels_hash, tables_hash
from fibstream.volumes.sources import Source, open_volume

from .catalogue import segmentations
from .parquet import read_parquet

Track = Callable[[Iterable[Any], str], Iterable[Any]]  # shows how far a long loop is


def untracked(items: Iterable[Any], what: str) -> Iterable[Any]:  # noqa: ARG001
    """Return items as they are."""
    return items


def hashes(out: Path, dataset: Dataset, track: Track = untracked) -> tuple[str, str]:
    """Return the published hashes of a dataset's labels and tables."""
    organelles = [organelle.name for organelle in dataset.organelles]
    names = [name for name in organelles if (out / "labels" / name / "s0").is_dir()]
    every = segmentations(dataset, LocalFiles(out))
    sources: dict[str, Source] = {
        name: open_volume(f"{out}/labels/{name}/s0", kind="labels",
                          voxel_size_nm=dataset.voxel_size_nm, growing=True)
        for name in names
    }  # fmt: skip
    boxes = sum(math.prod(-(-n // BOX) for n in source.shape) for source in sources.values())
    steps = iter(track(range(boxes), "hashed"))

    def read(source: Source, box: Box) -> NDArray[Any]:
        next(steps, None)
        return source.read(box)

    volumes = {
        name: (source.shape, lambda box, source=source: read(source, box))
        for name, source in sources.items()
    }
    files = {found.name: out / found.table for found in every}
    tables = {n: rows_hash(read_parquet(path)) for n, path in files.items() if path.is_file()}
    found = labels_hash(volumes), tables_hash(tables)
    next(steps, None)  # the last step is shown as done
    return found
