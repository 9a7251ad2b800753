"""Whom a process leaves alone, and until when: by the record of a dataset, not by its name."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from fibstream.bus import wire
from fibstream.core.dataset import RECORD
from fibstream.core.errors import Retryable
from fibstream.core.service import Service
from fibstream.runtime.host import SCAN_S
from fibstream.runtime.quarantine import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    LOOK_S,
    SOON_S,
    Quarantine,
)
from fibstream.runtime.worker_host import WorkerHost
from fibstream.telemetry.metrics import QUARANTINED
from fibstream.telemetry.prometheus import Prometheus

from .serving import SETTINGS, SharedRoot


class Record:
    """The record of a dataset, which is put anew, or is away."""

    def __init__(self) -> None:
        self.number: int | None = 0
        self.away = False
        self.looks = 0

    def generation(self, _: str) -> tuple[int, ...] | None:
        self.looks += 1
        if self.away:
            raise Retryable("its disk is away")
        return None if self.number is None else (self.number,)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def waiting(clock: list[float], record: Record) -> Quarantine:
    """A quarantine of one dataset that has failed so often that it waits as long as any."""
    made = Quarantine(record.generation)
    for _ in range(10):
        made.put("cell", "damaged")
        clock[0] += LONGEST_PAUSE_S
    made.put("cell", "damaged")
    return made


def test_it_waits_as_long_as_its_record_stays(
    waiting: Quarantine, clock: list[float], record: Record
) -> None:
    clock[0] += LONGEST_PAUSE_S - LOOK_S - 0.1
    assert not waiting.ready("cell") and waiting.reasons == {"cell": "damaged"}
    record.away = True  # what cannot be seen has not changed
    clock[0] += LOOK_S
    assert not waiting.ready("cell")
    clock[0] += 0.1
    assert waiting.ready("cell")


@pytest.mark.parametrize("number", [1, None])
def test_one_with_another_record_is_tried_at_once_and_its_old_reason_is_gone(
    waiting: Quarantine, clock: list[float], record: Record, number: int | None
) -> None:
    record.number, waiting.changed = number, False
    clock[0] += LOOK_S
    assert waiting.ready("cell")
    assert waiting.reasons == {} and waiting.changed


def test_one_with_another_record_that_fails_too_waits_a_short_time(
    waiting: Quarantine, clock: list[float], record: Record
) -> None:
    record.number = 1
    waiting.put("cell", "damaged")
    clock[0] += FIRST_PAUSE_S
    assert waiting.ready("cell")


def test_a_record_is_not_looked_at_with_every_task(
    waiting: Quarantine, clock: list[float], record: Record
) -> None:
    before = record.looks
    for _ in range(1000):
        clock[0] += 0.01
        waiting.ready("cell")
    assert 9 <= record.looks - before <= 11


def test_a_worker_without_tasks_forgets_what_was_mended_and_what_nobody_failed_at_for_long(
    waiting: Quarantine, clock: list[float], record: Record
) -> None:
    clock[0] += LONGEST_PAUSE_S + SOON_S - 0.1
    waiting.expire()
    assert waiting.reasons == {"cell": "damaged"}
    clock[0] += 0.1
    waiting.expire()
    assert waiting.reasons == {}
    waiting.put("cell", "damaged")
    clock[0] += LOOK_S
    waiting.expire()
    assert waiting.reasons == {"cell": "damaged"}
    record.number = 1
    clock[0] += LOOK_S
    waiting.expire()
    assert waiting.reasons == {}


class Listed(SharedRoot):
    """A root that counts how often its catalogue is read."""

    lists = 0

    def names(self) -> list[str]:
        self.lists += 1
        return super().names()


def left_alone(telemetry: Prometheus) -> float | None:
    labels = {"service": "census"}
    return telemetry.registry.get_sample_value(QUARANTINED.name, labels)


def test_a_worker_of_a_shared_bus_forgets_who_was_deleted(
    tmp_path: Path, clock: list[float]
) -> None:
    root, telemetry = Listed(str(tmp_path)), Prometheus("census")
    service = Service("census", 7999, "counted", (), lambda _: None)
    root.make("cell")
    root.files("cell").put(RECORD, b"none")
    root.enter("cell")
    with closing(WorkerHost(service, root, SETTINGS, "host:1", telemetry)) as worker:
        worker.turn()
        assert root.lists == 0  # a request to a bucket, where the queue says who has work
        root.only.send(wire.task_topic("census"), "cell/raw/0.0.0", b"")
        worker.turn()
        assert worker.quarantine.reasons.keys() == {"cell"} and left_alone(telemetry) == 1
        root.remove("cell")
        clock[0] += SCAN_S
        worker.turn()
        assert worker.quarantine.reasons == {} and left_alone(telemetry) == 0
        worker.quarantine.put("other", "damaged")
        worker.quarantine.release("other")
        before = root.lists
        clock[0] += SCAN_S
        worker.turn()
        assert root.lists == before  # nor for one that does well again
