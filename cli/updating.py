"""`fibstream update PATH`: another pipeline for the dataset in a folder; raw stays where it is."""

import time
from contextlib import closing
from pathlib import Path

from fibstream import registry
from fibstream.app.catalogue import landed, restore_log
from fibstream.app.engines import make_engine, wanted_of
from fibstream.app.folder import locked, open_dataset
from fibstream.app.pipelines import read_pipeline
from fibstream.app.redesign import redesign
from fibstream.bus import wire
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.ports import Bus, Files
from fibstream.runtime.root import CATALOGUE, bus_path, open_bus
from fibstream.runtime.settings import Settings
from fibstream.runtime.site import open_site
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.port import Engine
from fibstream.services.ingest.edges.datasets import update
from fibstream.store.store import Blob, Store

from .progress import Display
from .run import Report, check_free_space, conclude, prepare, raised_signals, written
from .runner import Runner


def check_whole(path: Path, dataset: Dataset, files: Files) -> None:
    """Raise WrongUse unless a folder has all that lands, and is not one of running services."""
    if (path.absolute().parent / CATALOGUE / dataset.name).is_file():
        raise WrongUse(
            f"{path}: running services look after it; expected its name, {dataset.name}, "
            "and --server HOST"
        )
    grid, store = dataset.grid, Store(files, dataset.grid)
    for each in landed(dataset):
        missing = not grid.sealed or any(
            store.stamp(Blob(each.name, index, each.dtype)) is None for index in grid.indices()
        )
        if missing:
            raise WrongUse(
                f"{path}: {each.name} has not landed as a whole; fibstream run with --out {path} "
                "and the pipeline lands the rest"
            )


def update_folder(path: Path, pipeline: str, settings: Settings, display: Display) -> Report:
    """Give the dataset in a folder another pipeline, and compute what follows from it."""
    begun = time.monotonic()
    wanted = read_pipeline(pipeline)
    open_dataset(path)
    with locked(path), raised_signals():
        files, dataset = open_dataset(path)
        check_whole(path, dataset, files)

        def make(file: Path) -> Engine:
            return make_engine(file, settings.threads, wanted_of(settings))

        made = redesign(dataset, wanted, find_model, make)
        check_free_space(path, made.dataset)
        files.sweep()
        with closing(open_bus(None, path, dataset.name, private=True)) as bus:
            if bus.end(wire.ledger_topics()) == 0:
                restore_log(made.dataset, Store(files, dataset.grid), bus)
            for warning in made.warnings:
                display.note(warning)
            update(files, open_site(files, bus)[1], lambda _: made)
            report = _compute(path, made.dataset, files, bus, settings, display)
    report.seconds = round(time.monotonic() - begun, 3)
    return report


def _compute(
    path: Path, dataset: Dataset, files: Files, bus: Bus, settings: Settings, display: Display
) -> Report:
    """Run all services until the dataset is complete; nothing lands."""
    before = prepare(bus, dataset.name)
    display.count(dataset)
    services = [service.name for service in registry.owners(dataset, files)]
    url = f"sqlite:{bus_path(path)}"
    runner = Runner(path, dataset.name, bus, url, None, settings, services)
    runner.landed = True
    try:
        with display:
            for _ in runner.run():
                display.update(bus, runner.progress())
            display.update(bus, runner.progress())
        report = conclude(path, dataset, bus, runner.progress(), before)
        for line in written(path, dataset):
            display.note(line)
        return report
    finally:
        runner.close()
