"""Groups of workers: who gets which task while members come, go, stall and die."""

import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from fibstream.bus.kafka import KafkaBus
from fibstream.bus.kafka.member import Member
from fibstream.core.errors import Retryable
from fibstream.runtime.root import DEPLOYMENT, Root
from fibstream.runtime.serve import join_bus, patiently

from ..support.broker import Broker
from ..support.patience import PATIENCE_S
from .waiting import TASKS, Connect, drain, eventually, take


def member_of(bus: KafkaBus) -> Member:
    """Return the member by which a bus takes tasks."""
    member = bus._queues[TASKS].member
    assert member is not None
    return member


def test_private_groups_see_their_own_tasks_and_a_shared_one_all(
    connect: Connect, dataset: str
) -> None:
    names = [f"{dataset}-{n}" for n in range(2)]
    private = [connect(name) for name in names]
    shared = connect(None)
    shared.skip()  # what other tests left
    for name, bus in zip(names, private, strict=True):
        for n in range(5):
            bus.send(TASKS, f"{name}/{n}", b"")
        assert bus.backlog(TASKS) == 5
    for name, bus in zip(names, private, strict=True):
        assert sorted(drain(bus)) == [f"{name}/{n}" for n in range(5)]
    assert shared.backlog(TASKS) == 10
    assert sorted(drain(shared)) == [f"{name}/{n}" for name in names for n in range(5)]


def test_a_task_longer_than_the_poll_interval_is_not_delivered_again(
    connect: Connect, dataset: str
) -> None:
    bus = connect(poll_interval_s=2.0)
    bus.send(TASKS, f"{dataset}/long", b"")
    held = take(bus)
    over = time.monotonic() + 5  # the time itself is what is tested
    other = connect(poll_interval_s=2.0)
    while time.monotonic() < over:
        assert other.take(TASKS, "w2", 10) is None
        other.wait(0.2)
    assert bus.renew(held, "w1", 10)
    bus.acknowledge(held, "w1")

    def settled() -> bool:
        assert other.take(TASKS, "w2", 10) is None
        return bus.backlog(TASKS) == 0

    eventually(settled, "it was not taken off")


def test_a_worker_that_joins_in_the_middle_neither_loses_nor_repeats_a_task(
    connect: Connect, dataset: str
) -> None:
    planner, first, second = connect(), connect(), connect()
    wanted = [f"{dataset}/{n}" for n in range(40)]
    for key in wanted:
        planner.send(TASKS, key, b"")
    held = take(first)
    second.take(TASKS, "w2", 10)  # joins; the held task's partition may move to it
    eventually(lambda: member_of(second).tasks.mine, "the second got no partition")
    taken = [held.key]
    first.acknowledge(held, "w1")
    deadline = time.monotonic() + PATIENCE_S
    by: Counter[str] = Counter()
    while planner.backlog(TASKS):
        for bus, owner in ((first, "w1"), (second, "w2")):
            if (found := bus.take(TASKS, owner, 10)) is not None:
                by[owner] += 1
                taken.append(found.key)
                bus.acknowledge(found, owner)
        assert time.monotonic() < deadline, f"left: {set(wanted) - set(taken)}"
    assert Counter(taken) == Counter(wanted)
    assert set(by) == {"w1", "w2"}


def test_a_holder_whose_partition_moved_finishes_its_task(connect: Connect, dataset: str) -> None:
    planner, first = connect(), connect()
    for n in range(16):
        planner.send(TASKS, f"{dataset}/{n}", b"")
    held = [take(first) for _ in range(16)]
    second = connect()
    second.take(TASKS, "w2", 10)
    moved = eventually(lambda: member_of(second).tasks.mine, "the second got no partition")
    assert eventually(lambda: member_of(second).tasks.waiting, "nothing moved")
    assert second.take(TASKS, "w2", 10) is None  # all are held by somebody who lives
    assert all(first.renew(one, "w1", 10) for one in held)
    for one in held:
        first.acknowledge(one, "w1")

    def settled() -> bool:
        assert second.take(TASKS, "w2", 10) is None
        return planner.backlog(TASKS) == 0

    assert moved
    eventually(settled, "what the first finished was not taken off")


def test_a_task_whose_partition_goes_and_comes_back_is_not_taken_twice(
    connect: Connect, dataset: str
) -> None:
    planner, first, second = connect(), connect(), connect()
    for n in range(16):
        planner.send(TASKS, f"{dataset}/{n}", b"")
    held = [take(first) for _ in range(16)]
    mine = member_of(first)
    second.take(TASKS, "w2", 10)
    eventually(lambda: member_of(second).tasks.waiting, "nothing moved")
    member_of(second).close()
    eventually(lambda: len(mine.tasks.mine) == 8, "the partitions did not come back")
    used = {one.id >> 32 & 0xFFF for one in held}  # the partitions with tasks
    eventually(lambda: len(mine.tasks.next) == len(used), "they were not fetched again")
    assert first.take(TASKS, "w1", 10) is None
    for one in held:
        first.acknowledge(one, "w1")

    def settled() -> bool:
        assert first.take(TASKS, "w1", 10) is None
        return planner.backlog(TASKS) == 0

    eventually(settled, "what was finished was not taken off")


def test_a_holder_that_is_killed_is_missed_and_the_crash_counted(
    broker: Broker, connect: Connect, dataset: str
) -> None:
    planner, other = connect(), connect()
    planner.send(TASKS, f"{dataset}/a", b"x")
    command = [
        sys.executable,
        str(Path(__file__).with_name("holder.py")),
        broker.servers,
        dataset,
        TASKS,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert other.take(TASKS, "w2", 10) is None
        child.kill()
    found = take(other, "w2")  # nobody reclaimed it: its session ran out
    assert (found.key, found.value, found.crashes) == (f"{dataset}/a", b"x", 1)
    other.acknowledge(found, "w2")
    assert planner.backlog(TASKS) == 0


def test_a_worker_that_stalls_joins_anew(
    connect: Connect, dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus = connect(stall_s=0.8)
    bus.send(TASKS, f"{dataset}/1", b"1")
    bus.acknowledge(take(bus), "w1")
    member = member_of(bus)
    vars(member)["_pace"] = lambda: member._consumer.pause(*member._consumer.assignment())
    Event().wait(0.2)  # longer than a poll
    bus.send(TASKS, f"{dataset}/2", b"2")
    eventually(lambda: member.restarts, "it did not notice")
    del vars(member)["_pace"]
    assert take(bus).value == b"2"
    assert "behind the end" in caplog.text


def test_workers_of_another_deployment_take_nothing_away(broker: Broker, dataset: str) -> None:
    """Two deployments share a broker: each has all its tasks, and no lease of the other's."""
    first, second = (
        KafkaBus(broker.servers, deployment="one"),
        KafkaBus(broker.servers, deployment="two"),
    )
    with closing(first), closing(second):
        for bus in (first, second):
            bus.skip()  # as a new root does: what other tests sent is not theirs
        wanted = {f"{dataset}/{n}" for n in range(6)}
        for key in wanted:
            first.send(TASKS, key, b"")
        for bus, owner in ((first, "w1"), (second, "w2")):
            taken: set[str] = set()
            while taken < wanted:
                found = take(bus, owner)
                assert found.crashes == 0
                if found.key in wanted:
                    taken.add(found.key)
                else:
                    bus.acknowledge(found, owner)
            # Held, not acknowledged: the other deployment's turn comes while these live.


def test_a_root_has_one_group_that_begins_after_what_was_sent_before(
    broker: Broker, dataset: str, tmp_path: Path
) -> None:
    with closing(KafkaBus(broker.servers, deployment="before")) as bus:
        bus.send(TASKS, f"{dataset}/old", b"")
        bus.backlog(TASKS)
    root = Root(str(tmp_path), f"kafka://{broker.servers}")
    shared = root.shared_bus()
    assert isinstance(shared, KafkaBus)
    with closing(shared) as bus, closing(root.bus(dataset, "")) as planner:
        assert planner.backlog(TASKS) == 0
        planner.send(TASKS, f"{dataset}/new", b"")
        found = take(bus)
        assert found.key == f"{dataset}/new"
        assert planner.backlog(TASKS) == 1
        bus.acknowledge(found, "w1")
        assert planner.backlog(TASKS) == 0
    assert Root(str(tmp_path), f"kafka://{broker.servers}").deployment == root.deployment
    (tmp_path / "other").mkdir()
    assert Root(str(tmp_path / "other"), f"kafka://{broker.servers}").deployment != root.deployment


def test_a_root_is_named_when_its_group_has_skipped_and_not_before(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next process would find the name, and take what was sent before."""
    root = Root(str(tmp_path), f"kafka://{broker.servers}")
    failures = [Retryable("the broker answers late")] * 2
    skip = KafkaBus.skip

    def late(bus: KafkaBus) -> None:
        assert not (tmp_path / DEPLOYMENT).exists()
        if failures:
            raise failures.pop()
        skip(bus)

    monkeypatch.setattr(KafkaBus, "skip", late)
    with pytest.raises(Retryable):
        root.shared_bus()
    with closing(patiently(partial(join_bus, root, f"kafka://{broker.servers}"))) as bus:
        assert isinstance(bus, KafkaBus)
    assert not failures
    assert (tmp_path / DEPLOYMENT).read_text() == root.deployment
