"""Whatever is published on a bus, planners, workers and every reader of it go on."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fibstream.app.status import _last_changes
from fibstream.bus import wire
from fibstream.bus.kafka import KafkaBus
from fibstream.bus.memory import MemoryBus, MemoryFiles
from fibstream.bus.reading import UNREADABLE
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import RECORD, Dataset, Organelle
from fibstream.core.events import MAX_EVENT, ObjectChanged, Progress, Record, Sealed, Task
from fibstream.core.keys import NamedInput, canonical, content_hash
from fibstream.core.ports import Bus
from fibstream.core.rules import pipeline_rule
from fibstream.core.subject import WHOLE, ObjectId
from fibstream.runtime.ledger import ledger
from fibstream.runtime.loops import PlannerLoop, WorkerLoop
from fibstream.runtime.site import Site
from fibstream.services.ingest.edges.progress import DatasetFollower
from fibstream.services.refine.servicer import ObjectFollower, _existing
from fibstream.store.store import Blob, Store

from ..runtime.line import CHUNKS, GRID, RAW_INPUT, STAGE, blurred, volume
from ..runtime.serving import QUEUE, SERVICE, SETTINGS, dataset_named, land_all
from ..support.broker import broker  # noqa: F401

NAME = f"d{time.time_ns()}"  # on a broker that other tests use
CHANCE = random.Random(7)
FORGED: list[Any] = [
    Sealed(5), Progress("nobody", 2**63, True, 2**63, 0, 0, 0),
    ObjectChanged("mito", "opened", 1, 1),
    Record("raw", WHOLE, "ready", "1", {"raw": "h"}), Record(STAGE, WHOLE, "ready", "k"),
    Record(STAGE, ObjectId(7), "ready", "k"), Record("raw", (0, 9, 0), "ready", "1", {"raw": "h"}),
    Record("raw", (2**32 - 1,) * 3, "failed"), Record("nowhere/x", (0, 0, 0), "ready"),
    Task(STAGE, WHOLE, "k", ()), Task(STAGE, ObjectId(3), "k", (), b"x" * 60_000),
    Task(STAGE, (0, 99, 0), "k", ()), Task("nowhere/x", (0, 0, 0), "k", ()),
    Task("prediction/gone", (0, 0, 0), "k", (), manifest="0" * 32),
    Task(STAGE, (0, 0, 0), "k" * 60_000, ()), Task(STAGE, (1, 0, 0), "k", (), manifest="m"),
    Task(STAGE, (1, 0, 0), "k", (NamedInput("nowhere", "raw", (2**32 - 1,) * 3, "h"),)),
]  # fmt: skip
VALUES = [
    b"", b"abc", b"-1", str(2**64).encode(), b"\xff" * 100, b"{}", bytes(MAX_EVENT + 1),
    *(CHANCE.randbytes(CHANCE.randrange(1, 200)) for _ in range(20)), *map(wire.encode, FORGED),
]  # fmt: skip
TOPICS = [
    *map(wire.ledger_topic, ("dataset", "raw", "prediction", "fragments", "labels")),
    wire.OBJECTS, wire.PROGRESS, wire.CONTROL, wire.WORK, wire.dead_letter_topic("inference"),
]  # fmt: skip


def _keys() -> list[str]:
    """Return keys, right and wrong ones, of the dataset and of others."""
    ends = ("/raw/0.0.0", f"/{STAGE}/1.0.0", f"/{STAGE}/whole", "/nowhere/x/0.0.0", "/dataset",
            "/inference", "/refine", "/mito/1", "/mito/abc", "/mito/-5", "", "/")  # fmt: skip
    return [*(NAME + end for end in ends), "other/raw/0.0.0", "../../x/raw/0.0.0", ""]


KEYS = _keys()


@pytest.fixture(params=["memory", "sqlite", "kafka"])
def connect(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Callable[[], Bus]]:
    """Open buses of the dataset; every call another connection, but in memory."""
    opened: list[Bus] = []
    memory = MemoryBus(lambda: 0.0)

    def make() -> Bus:
        if request.param == "memory":
            return memory
        if request.param == "sqlite":
            opened.append(SqliteBus(tmp_path / "bus"))
        else:
            servers = request.getfixturevalue("broker").servers
            opened.append(KafkaBus(servers, NAME, private=True, session_s=2))
        return opened[-1]

    yield make
    for bus in opened:
        bus.close()


def test_whatever_is_published_the_dataset_is_computed_and_read(connect: Callable[[], Bus]) -> None:
    mito = Organelle(name="mito", recipe="mito", inputs={}, settings={})
    dataset = dataset_named(NAME, organelles=(mito,))
    files, bus, before = MemoryFiles(), connect(), UNREADABLE.count
    files.put(RECORD, canonical(dataset.model_dump(mode="json")))
    store = Store(files, GRID)
    site = Site(dataset.name, store, bus)
    raw = volume()
    land_all(site, raw)
    for number, value in enumerate(VALUES):
        for topic in TOPICS:
            for key in CHANCE.sample(KEYS, 2):
                bus.publish(topic, key, value)
        for key in (f"{dataset.name}/{STAGE}/0.0.{number}", CHANCE.choice(KEYS)):
            bus.send(QUEUE, key, value)
    for event in FORGED:  # under the keys that are theirs
        topic = wire.LEDGER + getattr(event, "stage", "").partition("/")[0]
        if isinstance(event, Task):
            key = wire.record_key(NAME, event.stage, event.subject)
            bus.send(QUEUE, key, wire.encode(event))
        elif isinstance(event, Record) and topic in TOPICS:
            bus.publish(
                topic, wire.record_key(NAME, event.stage, event.subject), wire.encode(event)
            )
    assert _complete(connect, dataset, files)
    for index in CHUNKS:
        box = GRID.box(index)
        made = store.intact(Blob("blur", index, "uint8"))
        assert made is not None and made.hash == content_hash(blurred(raw)[box.slices()])
    reader = connect()
    records = {(r.stage, r.subject): r.status for r in ledger(reader, dataset.name)}
    assert all(records[STAGE, index] == "ready" for index in CHUNKS)
    assert UNREADABLE.count >= before + len(VALUES)


def _complete(connect: Callable[[], Bus], dataset: Dataset, files: MemoryFiles) -> bool:
    """Let a planner and a worker take turns, beside every reader; whether it became complete."""
    planner = PlannerLoop(SERVICE, files, connect(), SETTINGS)
    worker = WorkerLoop(SERVICE, files, connect(), SETTINGS, "host:1")
    watching, reader = connect(), connect()
    follower = DatasetFollower(
        watching, NAME, ["inference"], [RAW_INPUT], [STAGE, "raw"], pipeline_rule(dataset)
    )
    objects = ObjectFollower(reader, dataset, ["mito"])
    for _ in range(3000):
        planner.turn()
        worker.turn()
        follower.poll(GRID)
        list(objects.poll())
        if follower.complete:
            list(_last_changes(reader, dataset.name))
            return _existing(reader, dataset, "mito", 0, 10) is not None
    return False
