"""The simulated microscope: seal a dataset, then land every chunk of a volume in an order.

Beside each chunk of raw lands that of a mask, and of every stored prediction.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.core.stage import MASK, RAW, Input
from fibstream.runtime.loops import backoff, drive
from fibstream.runtime.process import orphaned, running
from fibstream.runtime.root import open_bus
from fibstream.runtime.site import Site, open_site
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import Source

from .datasets import announce_seal
from .landing import Order, land, ordered
from .sources import open_raw
from .stored import StoredPrediction, open_stored


def land_all(
    site: Site, dataset: Dataset, source: Source, order: Order, seed: int,
    stored: Sequence[StoredPrediction] = (),
) -> Iterator[None]:  # fmt: skip
    """Land all chunks of ``source`` and ``stored``, unless they have landed; yields after each."""
    extent_z = dataset.shape[0]  # the end of a whole source is known from the start
    assert extent_z is not None
    announce_seal(site, extent_z)
    for index in ordered(dataset.grid, order, seed):
        box = dataset.grid.box(index)
        _land(site, index, source.read(box), Input(RAW, RAW, dataset.dtype))
        yield
        if source.mask is not None:
            _land(site, index, source.mask.read(box), Input(MASK, MASK, "uint8"))
            yield
        for prediction in stored:
            named = dataset.prediction(prediction.name)
            _land(site, index, prediction.read(box), Input(named.stage, named.path, "uint8"))
            yield


def _land(site: Site, index: Index, voxels: NDArray[Any], array: Input) -> None:
    for attempt in backoff():
        with attempt:
            drive(land(site, index, voxels, array.dtype, stage=array.stage, name=array.name))


def main() -> None:
    """Land a volume into a dataset that exists."""
    parser = argparse.ArgumentParser(prog="python -m fibstream.services.ingest.edges.land")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--absent-mask", metavar="PATH")
    parser.add_argument("--prediction", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--labels", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--order", default="raster", choices=("raster", "random", "slab"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bus")
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    with running(arguments.parent) as (_, stopping):
        files = LocalFiles(arguments.dataset)
        there = read_dataset(files)
        bus = open_bus(arguments.bus, arguments.dataset, there.name, there.incarnation)
        dataset, site = open_site(files, bus)
        source = open_raw(arguments.raw, dataset, mask=arguments.absent_mask)
        if source.shape != dataset.shape:
            raise WrongUse(f"{arguments.raw} is {source.shape}; the dataset is {dataset.shape}")
        stored = [
            open_stored(name, path, labels=labels, raw=source, factors=dataset.downsample,
                        mask=dataset.prediction(name).made_of == "mask")
            for labels, given in ((False, arguments.prediction), (True, arguments.labels))
            for name, _, path in (argument.partition("=") for argument in given)
        ]  # fmt: skip
        for _ in land_all(site, dataset, source, arguments.order, arguments.seed, stored):
            if stopping.is_set() or orphaned(arguments.parent):
                sys.exit(1)


if __name__ == "__main__":
    main()
