"""Where a service works: the store and the bus of one dataset."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from fibstream.bus import wire
from fibstream.core.dataset import Dataset
from fibstream.core.events import Record
from fibstream.core.ports import Bus, Files
from fibstream.core.stage import Stage
from fibstream.core.subject import Subject
from fibstream.store.decoded import NOTHING, Decoded
from fibstream.store.record import read_dataset
from fibstream.store.store import Blob, Store, blobs
from fibstream.telemetry.metrics import LAST_COMMIT, SILENT, SUSPECTS, Telemetry


@dataclass(frozen=True)
class Site:
    """Where a service works: one dataset's store and bus."""

    dataset: str
    store: Store
    bus: Bus
    version: str = ""
    telemetry: Telemetry = SILENT

    def publish(self, record: Record) -> None:
        """Append a record to the ledger."""
        key = wire.record_key(self.dataset, record.stage, record.subject)
        self.bus.publish(wire.ledger_topic(record.stage), key, wire.encode(record))
        self.telemetry.stamp(LAST_COMMIT)
        if record.status == "suspect":
            self.telemetry.add(SUSPECTS, stage=record.stage.partition("/")[0])

    def blobs(self, stage: Stage, subject: Subject) -> list[Blob]:
        """Return every blob that a stage writes for one subject."""
        chunk = self.store.grid.chunk
        return [b for o in stage.outputs for b in blobs(o, subject, stage.subjects, chunk)]


@cache
def software() -> str:
    """Return the version that stamps name."""
    return version("fibstream")


def open_site(
    files: Files, bus: Bus, telemetry: Telemetry = SILENT, decoded: Decoded = NOTHING
) -> tuple[Dataset, Site]:
    """Open a dataset's store and bus."""
    dataset = read_dataset(files)
    store = Store(files, dataset.grid, decoded)
    return dataset, Site(dataset.name, store, bus, software(), telemetry)
