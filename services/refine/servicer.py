"""The gRPC servicer of refine: its recipes, and the objects of a dataset as they change."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from heapq import nsmallest

import grpc

from fibstream.bus import wire
from fibstream.bus.reading import event_of, pass_over
from fibstream.core.dataset import Dataset
from fibstream.core.echo import cut, echo
from fibstream.core.errors import NotFound, WrongState, WrongUse
from fibstream.core.events import (
    GONE,
    ObjectChanged,
    PipelineChanged,
    Progress,
    Record,
    Sealed,
)
from fibstream.core.keys import canonical
from fibstream.core.ports import Bus, Entry
from fibstream.core.rules import object_rules, pipeline_rule
from fibstream.core.subject import ObjectId, parse
from fibstream.runtime.paging import decode_token, encode_token, page_size
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.v1 import refine_pb2 as pb
from fibstream.v1.refine_pb2_grpc import RefineServiceServicer

from .recipe import recipes
from .watermark import Finality, Watermark, least

WAIT_S = 0.25  # between two checks of a watching stream whether its client is still there
EXISTS_S = 5.0  # between two checks whether its dataset is: a request to an object store


class RefineServicer(RefineServiceServicer):
    """Answers for all datasets below a root."""

    def __init__(self, root: Root, settings: Settings) -> None:
        self._root = root

    def ListRecipes(
        self, request: pb.ListRecipesRequest, context: grpc.ServicerContext
    ) -> pb.ListRecipesResponse:
        """Return every recipe with its parameters."""
        listed = [
            pb.Recipe(
                name=name,
                settings={
                    key: canonical(value).decode()
                    for key, value in recipe.settings.model_dump(mode="json").items()
                },
                predicted=recipe.inputs[0].default or "",
            )
            for name, recipe in recipes().items()
        ]
        return pb.ListRecipesResponse(recipes=listed)

    def ListObjects(
        self, request: pb.ListObjectsRequest, context: grpc.ServicerContext
    ) -> pb.ListObjectsResponse:
        """Return the objects of one organelle that exist, by id."""
        size = page_size(request.page_size)
        with self._root.open(request.dataset) as (dataset, site):
            if not request.organelle:
                raise WrongUse("organelle: expected the name of one")
            (name,) = _organelles(dataset, request.organelle)
            listed = f"{dataset.name}/{name}"
            after, _ = decode_token(request.page_token, listed)
            found = _existing(site.bus, dataset, name, after, size + 1)
        token = encode_token(found[size - 1].id, listed) if len(found) > size else ""
        objects = [wire.object_message(change) for change in found[:size]]
        return pb.ListObjectsResponse(objects=objects, next_page_token=token)

    def WatchObjects(
        self, request: pb.WatchObjectsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchObjectsResponse]:
        """Stream every object, then every change and watermark, until the client is gone."""
        with self._root.open(request.dataset) as (dataset, site):
            follower = ObjectFollower(site.bus, dataset, _organelles(dataset, request.organelle))
            sent, checked = None, time.monotonic()
            while context.is_active():
                for change in follower.poll():
                    yield pb.WatchObjectsResponse(object=wire.object_message(change))
                mark = follower.watermark
                if mark != sent:
                    sent = mark
                    yield pb.WatchObjectsResponse(
                        watermark=pb.FinalityWatermark(z=mark.z, open_objects=mark.open_objects)
                    )
                site.bus.wait(WAIT_S)
                if time.monotonic() - checked > EXISTS_S:
                    # NotFound when it was deleted
                    if not self._root.dataset(request.dataset).has_pipeline_of(dataset):
                        raise WrongState(
                            f"dataset {echo(dataset.name)}: it has another pipeline now;"
                            " watch it anew"
                        )
                    checked = time.monotonic()


class ObjectFollower:
    """The objects of some organelles of one dataset, followed on the bus.

    A planner publishes the changes of objects before its progress, that is how far it has read the
    ledger. So progress is read first: a chunk counts as cut once the planner has read its record,
    and all changes of objects in it can then be read.

    Of another pipeline the log may hold objects, which are left out, and chunks that were cut under
    it: after a change nothing counts as cut until the planner of the new one had nothing to do.
    """

    def __init__(self, bus: Bus, dataset: Dataset, organelles: Sequence[str]) -> None:
        self._bus = bus
        self._dataset = dataset
        self._finality = {name: Finality(dataset.grid) for name in organelles}
        self._planner = "refine", pipeline_rule(dataset)
        self._rules = object_rules(dataset)
        self._changed = 0  # offset at which the pipeline was last said to be another
        self._settled = 0  # offset up to which its planner last had nothing to do
        self._offsets: dict[Sequence[str], int] = {}
        self._read_to = 0  # offset up to which refine's planner has read the ledger
        self._ahead: deque[tuple[int, Record | Sealed]] = deque()  # what it has not read yet

    @property
    def watermark(self) -> Watermark:
        """The watermark of all these organelles together; 0 without any."""
        marks = [finality.watermark for finality in self._finality.values()]
        return least(marks) if marks else Watermark(0, 0)

    def poll(self) -> Iterator[ObjectChanged]:
        """Read what is new; yield the last change of each object."""
        for entry in self._new((wire.PROGRESS,)):
            event = event_of(entry)
            # That of a planner of another pipeline tells nothing of this one.
            if isinstance(event, Progress) and (event.service, event.pipeline) == self._planner:
                self._read_to = event.offset
                self._settled = event.offset if event.settled else self._settled
        self._read_ledger()
        last: dict[str, Entry] = {}  # a log may hold older records of a key as well
        for entry in self._new((wire.OBJECTS,)):
            last.pop(entry.key, None)
            last[entry.key] = entry
        for entry in last.values():
            event = event_of(entry)
            if not isinstance(event, ObjectChanged) or event.organelle not in self._finality:
                continue
            if event.rule == self._rules[event.organelle]:
                self._finality[event.organelle].changed(event.id, event.kind)
                yield event
        while self._ahead and self._ahead[0][0] <= self._read_to and self._settled >= self._changed:
            self._apply(self._ahead.popleft()[1])

    def _read_ledger(self) -> None:
        for entry in self._new(wire.ledger_topics()):
            if entry.topic not in (wire.ledger_topic("fragments"), wire.ledger_topic("dataset")):
                continue
            event = event_of(entry)
            if isinstance(event, Record | Sealed):
                self._ahead.append((entry.offset, event))
            elif isinstance(event, PipelineChanged):
                self._changed = entry.offset

    def _new(self, topics: Sequence[str]) -> Iterator[Entry]:
        while entries := self._bus.read(topics, self._offsets.get(topics, 0)):
            self._offsets[topics] = entries[-1].offset
            yield from (e for e in entries if wire.dataset_of(e.key) == self._dataset.name)

    def _apply(self, event: Record | Sealed) -> None:
        if isinstance(event, Sealed):
            for finality in self._finality.values():
                finality.grid = self._dataset.sealed(event.extent_z).grid
            return
        own = self._finality.get(event.stage.partition("/")[2])
        # A suspect chunk is made again, and the last changes of its objects stand until then.
        if own is None or not isinstance(event.subject, tuple):
            return
        if event.status in ("ready", "failed"):
            own.cut(event.subject, done=event.status == "ready")


def _organelles(dataset: Dataset, organelle: str) -> list[str]:
    """Return the organelles that a request names; all with an empty name."""
    names = [o.name for o in dataset.organelles]
    if organelle and organelle not in names:
        known = ", ".join(names) or "none"
        raise NotFound(f"organelle {echo(organelle)}: {dataset.name} has {known}")
    return [organelle] if organelle else names


def _id_of(entry: Entry, prefix: str) -> int:
    """Return the id that a key of the log of objects ends in; 0, which is none, for another key."""
    with contextlib.suppress(ValueError):
        if isinstance(found := parse(entry.key.removeprefix(prefix)), ObjectId):
            return found.number
    pass_over(f"{entry.topic} at {entry.offset}", f"no object: {cut(entry.key)}")
    return 0


def _existing(
    bus: Bus, dataset: Dataset, organelle: str, after: int, count: int
) -> list[ObjectChanged]:
    """Return the first objects with an id above ``after`` that exist, by id.

    The last record of a key stands; only those that may be on the page are decoded. What was found
    under other settings exists no more, though the log may not say so yet.
    """
    prefix, rule = f"{dataset.name}/{organelle}/", object_rules(dataset)[organelle]
    last: dict[int, Entry] = {}
    offset = 0
    while entries := bus.read((wire.OBJECTS,), offset):
        offset = entries[-1].offset
        for entry in entries:
            if entry.key.startswith(prefix) and (id_ := _id_of(entry, prefix)) > after:
                last[id_] = entry
    found: list[ObjectChanged] = []
    while last and len(found) < count:
        for id_ in nsmallest(count, last):
            change = event_of(last.pop(id_))
            if not isinstance(change, ObjectChanged) or change.kind in GONE:
                continue
            if change.rule == rule:
                found.append(change)
    return found[:count]
