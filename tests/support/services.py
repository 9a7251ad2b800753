"""A run in this process on the dataset's own durable bus: what the processes do, quickly."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.cli.inprocess import InProcess
from fibstream.cli.run import Report, conclude, prepare
from fibstream.core.events import ObjectChanged, Place
from fibstream.core.ports import Bus
from fibstream.core.subject import parse
from fibstream.runtime.root import bus_path
from fibstream.runtime.settings import Settings
from fibstream.services.ingest.edges.stored import open_stored
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import open_volume


@contextmanager
def bus_of(out: Path) -> Iterator[SqliteBus]:
    """Open a dataset's own bus."""
    bus = SqliteBus(bus_path(out))
    yield bus
    bus.close()


def rerun(
    out: Path, raw: Path, *, chunks: int | None = None, predictions: Path | None = None
) -> tuple[Report, set[Place]]:
    """Run an existing dataset to its end; return the report, and what was computed.

    With ``chunks`` only the first so many land, in raster order, and the run ends there. What is
    stored lands from the folder ``predictions``, by name.
    """
    files = LocalFiles(out)
    dataset = read_dataset(files)
    with bus_of(out) as bus:
        before = prepare(bus, dataset.name)
        source = open_volume(str(raw), kind="raw")
        stored = [
            open_stored(each.name, f"{predictions}/{each.name}", labels=False, raw=source)
            for each in dataset.predictions
            if predictions is not None and not each.model
        ]
        runner = InProcess(
            files, cast("Any", bus), source, dataset, "raster", 0, Settings.model_validate({}),
            stored,
        )  # fmt: skip
        runner._landing = islice(runner._landing, chunks)
        for _ in runner.run():
            pass
        computed = {_place(entry.key) for entry in bus.read([wire.WORK], before, 1 << 30)}
        return conclude(out, dataset, bus, runner.progress(), before), computed


def _place(key: str) -> Place:
    _, _, rest = key.partition("/")
    stage, _, subject = rest.rpartition("/")
    return stage, parse(subject)


def news(bus: Bus) -> dict[tuple[str, int], ObjectChanged]:
    """Return what was last said of every object."""
    events = (wire.decode(entry.value) for entry in bus.read([wire.OBJECTS], 0, 1 << 30))
    return {(e.organelle, e.id): e for e in events if isinstance(e, ObjectChanged)}
