"""A dataset ``cell`` whose logs a test writes itself, and a stream that watches its objects."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from fibstream.bus import wire
from fibstream.core.dataset import RECORD, Dataset, Organelle
from fibstream.core.events import (
    Change,
    ObjectChanged,
    PipelineChanged,
    Progress,
    Record,
    Sealed,
    Status,
)
from fibstream.core.keys import canonical
from fibstream.core.rules import object_rules, pipeline_rule
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.refine.servicer import RefineServicer
from fibstream.v1 import refine_pb2 as pb
from fibstream.v1.refine_pb2_grpc import RefineServiceStub, add_RefineServiceServicer_to_server

from ..support import rpc
from ..support.patience import PATIENCE_S

Stub = RefineServiceStub
EXISTING: tuple[Change, ...] = ("opened", "grown", "closed", "final")


@contextmanager
def serving(root: Root) -> Iterator[Stub]:
    servicer = RefineServicer(root, Settings.model_validate({}))
    with rpc.serving(add_RefineServiceServicer_to_server, servicer, Stub) as stub:
        yield stub


class Cell:
    """A dataset ``cell`` of 3 x 1 x 1 chunks without planners: a test publishes in their place."""

    def __init__(self, root: Root, *organelles: str) -> None:
        self.root = root
        self.dataset = Dataset(
            name="cell", shape=(None, 8, 8), chunk=(4, 8, 8), dtype="uint8",
            voxel_size_nm=(8, 8, 8), contrast=(0, 255),
            organelles=tuple(
                Organelle(name=name, recipe=name, inputs={"prediction": "mito"}, settings={})
                for name in organelles
            ),
        )  # fmt: skip
        root.files("cell").put(RECORD, canonical(self.dataset.model_dump(mode="json")))
        self.bus = root.bus("cell")

    def change(
        self,
        id_: int,
        kind: Change,
        organelle: str = "mito",
        voxels: int = 5,
        into: int | None = None,
        rule: str | None = None,
    ) -> ObjectChanged:
        """Publish a change of an object."""
        rule = object_rules(self.dataset).get(organelle, "") if rule is None else rule
        event = ObjectChanged(organelle, kind, id_, voxels, into, rule)
        self.bus.publish(wire.OBJECTS, f"cell/{organelle}/{id_}", wire.encode(event))
        return event

    def cut(self, z: int, organelle: str = "mito", status: Status = "ready") -> None:
        """Record the fragments of a chunk."""
        stage = f"fragments/{organelle}"
        record = Record(stage, (z, 0, 0), status, "k", {f"fragments/{organelle}": "h"})
        key = wire.record_key("cell", stage, record.subject)
        self.bus.publish(wire.ledger_topic(stage), key, wire.encode(record))

    def seal(self, z: int) -> None:
        self.bus.publish(wire.ledger_topic("dataset"), "cell/dataset", wire.encode(Sealed(z)))

    def pipeline_changed(self) -> None:
        value = wire.encode(PipelineChanged())
        self.bus.publish(wire.ledger_topic("dataset"), "cell/pipeline", value)

    def caught_up(
        self, offset: int | None = None, *, settled: bool = True, planned: Dataset | None = None
    ) -> None:
        """Publish how far refine's planner has read the ledger."""
        offset = self.bus.end(wire.ledger_topics()) if offset is None else offset
        progress = Progress(
            "refine", offset, settled, 0, 0, 0, 0, pipeline_rule(planned or self.dataset)
        )
        self.bus.publish(wire.PROGRESS, "cell/refine", wire.encode(progress))


class Watch:
    """A stream of changes and watermarks, read as the test asks for them."""

    def __init__(self, stub: Stub, organelle: str = "mito") -> None:
        request = pb.WatchObjectsRequest(dataset="cell", organelle=organelle)
        self.call = stub.WatchObjects(request, timeout=PATIENCE_S)

    def next(self, count: int = 1) -> list[Any]:
        """Return so many messages: an event, or (z, open objects)."""
        return [self._plain(message) for message in islice(self.call, count)]

    @staticmethod
    def _plain(message: pb.WatchObjectsResponse) -> ObjectChanged | tuple[int, int]:
        if message.WhichOneof("kind") == "object":
            return wire.object_of(message.object)
        return message.watermark.z, message.watermark.open_objects
