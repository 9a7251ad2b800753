"""What tests of hosts share: the line as a dataset, its service, and a root with one bus."""

from typing import Any

from fibstream.bus import wire
from fibstream.bus.creation import CreationBus
from fibstream.bus.memory import MemoryBus
from fibstream.core.dataset import Dataset
from fibstream.core.ports import Bus
from fibstream.core.service import Capability, Service
from fibstream.runtime.loops import drive
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.runtime.site import Site
from fibstream.services.ingest.edges.landing import land

from .line import CHUNK, CHUNKS, GRID, RAW_INPUT, SHAPE, Voxels, make_stage

SETTINGS = Settings.model_validate({})
SERVICE = Service(
    "inference", 7999, "made", (Capability(("prediction",), lambda *_: [make_stage()]),),
    lambda _: None, lambda _: [RAW_INPUT],
)  # fmt: skip
QUEUE = wire.task_topic(SERVICE.name)


def dataset_named(name: str, **more: Any) -> Dataset:
    """Return the record of the line as a dataset."""
    return Dataset(
        name=name, shape=SHAPE, chunk=CHUNK, dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255), **more,
    )  # fmt: skip


def land_all(site: Site, raw: Voxels) -> None:
    """Land all chunks."""
    for index in CHUNKS:
        drive(land(site, index, raw[GRID.box(index).slices()], "uint8", None))


class SharedRoot(Root):
    """A root whose datasets share one bus in memory, as on Kafka."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.only = MemoryBus()

    def bus(self, name: str, creation: str | None = None) -> Bus:
        """Return the bus as one creation sees it."""
        given = self.dataset(name).incarnation if creation is None else creation
        return CreationBus(self.only, name, given)

    def shared_bus(self) -> Bus | None:
        """Return the bus of all."""
        return self.only
