"""The simulated microscope: seal a dataset, then land every chunk of a volume in an order."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.runtime.loops import backoff, drive
from fibstream.runtime.process import orphaned, running
from fibstream.runtime.root import open_bus
from fibstream.runtime.site import Site, open_site
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import Source, open_volume

from .datasets import announce_seal
from .landing import Order, land, ordered


def land_all(
    site: Site, dataset: Dataset, source: Source, order: Order, seed: int
) -> Iterator[None]:
    """Land all chunks of ``source``, unless they have landed before; yields after each."""
    extent_z = dataset.shape[0]  # the end of a whole source is known from the start
    assert extent_z is not None
    announce_seal(site, extent_z)
    for index in ordered(dataset.grid, order, seed):
        voxels = source.read(dataset.grid.box(index))
        for attempt in backoff():
            with attempt:
                drive(land(site, index, voxels, dataset.dtype))
        yield


def main() -> None:
    """Land a volume into a dataset that exists."""
    parser = argparse.ArgumentParser(prog="python -m fibstream.services.ingest.edges.land")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--order", default="raster", choices=("raster", "random", "slab"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bus")
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    with running(arguments.parent) as (_, stopping):
        files = LocalFiles(arguments.dataset)
        bus = open_bus(arguments.bus, arguments.dataset, read_dataset(files).name)
        dataset, site = open_site(files, bus)
        source = open_volume(arguments.raw, kind="raw", voxel_size_nm=dataset.voxel_size_nm)
        if source.shape != dataset.shape:
            raise WrongUse(f"{arguments.raw} is {source.shape}; the dataset is {dataset.shape}")
        for _ in land_all(site, dataset, source, arguments.order, arguments.seed):
            if stopping.is_set() or orphaned(arguments.parent):
                sys.exit(1)


if __name__ == "__main__":
    main()
