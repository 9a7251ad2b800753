"""The published hashes of a dataset on disk."""

from pathlib import Path

import pyarrow.parquet as pq

from fibstream.core.dataset import Dataset
from fibstream.services.analysis.table import rows_hash
from fibstream.store.local import LocalFiles
from fibstream.store.published import labels_hash, tables_hash
from fibstream.volumes.sources import Source, open_volume

from .catalogue import segmentations


def hashes(out: Path, dataset: Dataset) -> tuple[str, str]:
    """Return the published hashes of a dataset's labels and tables."""
    organelles = [organelle.name for organelle in dataset.organelles]
    names = [name for name in organelles if (out / "labels" / name / "s0").is_dir()]
    every = segmentations(dataset, LocalFiles(out))
    sources: dict[str, Source] = {
        name: open_volume(f"{out}/labels/{name}/s0", kind="labels",
                          voxel_size_nm=dataset.voxel_size_nm, growing=True)
        for name in names
    }  # fmt: skip
    volumes = {name: (source.shape, source.read) for name, source in sources.items()}
    files = {found.name: out / found.table for found in every}
    tables = {n: rows_hash(pq.read_table(path)) for n, path in files.items() if path.is_file()}
    return labels_hash(volumes), tables_hash(tables)
