"""On a bus that datasets share, one that is created anew under a name is not that of before."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream.bus import wire
from fibstream.bus.creation import CreationBus
from fibstream.bus.memory import MemoryBus
from fibstream.bus.reading import entries_of
from fibstream.bus.topics import declared, partition_of
from fibstream.core.events import ObjectChanged, PipelineChanged, Record, Sealed, Task
from fibstream.core.keys import content_hash
from fibstream.core.ports import Bus
from fibstream.core.subject import Subject
from fibstream.runtime import host as host_module
from fibstream.runtime import worker_host as worker_module
from fibstream.runtime.host import PlannerHost
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import Root
from fibstream.runtime.worker_host import WorkerHost
from fibstream.services.ingest.edges.datasets import DatasetDesign, announce_seal, create
from fibstream.store.store import Blob, Store

from ..runtime.line import CHUNKS, GRID, SHAPE, STAGE, blurred, volume
from ..runtime.serving import QUEUE, SERVICE, SETTINGS, SharedRoot, dataset_named, land_all
from ..support.broker import broker  # noqa: F401
from ..support.patience import PATIENCE_S

NAME = f"d{time.time_ns()}"  # on a broker that other tests use
LOGS = [*wire.ledger_topics(), wire.OBJECTS, wire.PROGRESS, wire.CONTROL, wire.WORK,
        wire.dead_letter_topic("inference")]  # fmt: skip


@pytest.fixture(params=["memory", "kafka"])
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Root]:
    monkeypatch.setattr(host_module, "SCAN_S", 0.0)
    monkeypatch.setattr(worker_module, "SCAN_S", 0.0)
    url = str(tmp_path)
    if request.param == "memory":
        made: Root = SharedRoot(url)
    else:
        made = Root(url, f"kafka://{request.getfixturevalue('broker').servers}")
    with closing(made):
        yield made


def created(root: Root) -> None:
    assert create(root, DatasetDesign(dataset_named(NAME), {}, []))


def landed(root: Root, raw: Any) -> None:
    with root.open(NAME) as (_, site):
        land_all(site, raw)


def until_complete(root: Root, planners: PlannerHost, worker: WorkerHost, raw: Any) -> None:
    """Take turns until all chunks are made of these voxels, and recorded so."""
    wanted = {i: content_hash(blurred(raw)[GRID.box(i).slices()]) for i in CHUNKS}
    deadline = time.monotonic() + PATIENCE_S
    found: dict[Subject, str | None] = {}
    while found != wanted:
        assert time.monotonic() < deadline, (found, planners.quarantine.reasons)
        for _ in range(20):
            planners.turn()
            worker.turn()
        with root.open(NAME) as (_, site):
            records = [r for r in ledger(site.bus, NAME) if r.stage == STAGE]
        found = {r.subject: r.hashes.get("blur") for r in records if r.status == "ready"}
    made = Store(root.files(NAME), GRID)
    stamps = {index: made.intact(Blob("blur", index, "uint8")) for index in CHUNKS}
    assert {index: stamp and stamp.hash for index, stamp in stamps.items()} == wanted
    assert planners.quarantine.reasons == worker.quarantine.reasons == {}


def straggle(bus: Bus) -> None:
    """Publish what one who has not noticed, or an earlier version, may have to say."""
    for index in CHUNKS:
        for stage in ("raw", STAGE):
            record = Record(stage, index, "ready", "1", {stage.partition("/")[2] or "raw": "0"})
            bus.publish(
                wire.ledger_topic(stage), wire.record_key(NAME, stage, index), wire.encode(record)
            )
        task = wire.encode(Task(STAGE, index, "k", ()))
        bus.send(QUEUE, wire.record_key(NAME, STAGE, index), task)
    topic = wire.ledger_topic("dataset")
    bus.publish(topic, f"{NAME}/dataset", wire.encode(Sealed(4)))
    bus.publish(topic, f"{NAME}/pipeline", wire.encode(PipelineChanged()))
    bus.publish(wire.OBJECTS, f"{NAME}/mito/1", wire.encode(ObjectChanged("mito", "final", 1, 1)))
    bus.publish(wire.CONTROL, NAME, b"{}")


def test_a_dataset_created_anew_reads_nothing_of_the_one_before(root: Root) -> None:
    first, second = volume(1), volume(2)
    shared = root.shared_bus()
    assert shared is not None
    with (
        closing(shared),
        closing(PlannerHost(SERVICE, root, SETTINGS)) as planners,
        closing(WorkerHost(SERVICE, root, SETTINGS, "host:1")) as worker,
    ):
        created(root)
        landed(root, first)
        until_complete(root, planners, worker, first)
        before = root.dataset(NAME).incarnation
        with closing(root.bus(NAME)) as old:
            root.remove(NAME)
            created(root)
            assert root.dataset(NAME).incarnation != before
            for bus in (old, shared):  # by its keys, and by those without a creation
                straggle(bus)
            with root.open(NAME) as (_, site):
                for topic in LOGS:
                    assert list(entries_of(site.bus, [topic], NAME)) == []
                announce_seal(site, SHAPE[0])
            landed(root, second)
            straggle(old)
            until_complete(root, planners, worker, second)
            straggle(old)
            assert {r.hashes["blur"] for r in ledger(old, NAME) if r.stage == STAGE} == {"0"}
        until_complete(root, planners, worker, second)


def test_keys_of_all_creations_of_a_name_are_in_one_partition() -> None:
    rng = np.random.default_rng(3)
    for topic in declared(["inference"]):
        for number in range(30):
            name, creation = f"cell-{number}", rng.bytes(8).hex()
            one, other = (f"{wire.owner(name, c)}/raw/0.0.0" for c in (creation, ""))
            if topic.name != QUEUE:
                assert partition_of(topic.name, one, 8) == partition_of(topic.name, other, 8)
            assert wire.name_of(one) == wire.name_of(other) == name


def test_a_bus_gives_back_what_it_was_given_under_the_key_it_had() -> None:
    """Also what is no key of the dataset: a task that comes under any key can be acknowledged."""
    bus = MemoryBus()
    own = CreationBus(bus, "cell", "c1")
    keys = ["cell", "cell/raw/0.0.0", "cell\\c1/raw/0.0.0", "cell\\c2/x", "other/x", "cells/x", "",
            "/", "\\", "cell\\c1"]  # fmt: skip
    for key in keys:
        own.publish("log", key, key.encode())
        own.send("tasks", key, key.encode())
    assert [(e.key, e.value.decode()) for e in own.read(["log"], 0)] == [(k, k) for k in keys]
    assert {e.key for e in bus.read(["log"], 0) if e.key.startswith("cell\\c1/")} == {
        "cell\\c1/raw/0.0.0"
    }
    seen = set()
    while (delivery := own.take("tasks", "w", 10)) is not None:
        seen.add(delivery.key)
        assert own.renew(delivery, "w", 10)
        own.acknowledge(delivery, "w")
    assert seen == set(keys) and own.backlog("tasks") == 0
