"""One dataset, whatever it does, costs another no more than the task or the step at hand."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fibstream.bus import wire
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.events import Record, Task
from fibstream.core.frontier import LOOKS, Frontier
from fibstream.core.keys import canonical
from fibstream.runtime import loops
from fibstream.runtime.host import PlannerHost
from fibstream.runtime.loops import PlannerLoop, WorkerLoop
from fibstream.runtime.planner import SLICE, WINDOW
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.runtime.supervisor import FIRST_PAUSE_S, Supervisor
from fibstream.runtime.worker_host import WorkerHost

from ..simulation.draws import draw_dataset
from ..simulation.services import SERVICES

(INFERENCE,) = (service for service in SERVICES if service.name == "inference")
TASKS = wire.task_topic("inference")
SETTINGS = Settings.model_validate({})


def dataset(name: str, edge: int) -> Dataset:
    """Return a dataset of as many chunks an edge."""
    drawn = draw_dataset(random.Random(1))
    changes = {"name": name, "shape": (16 * edge,) * 3, "chunk": (16,) * 3}
    return drawn.model_copy(update=changes)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with closing(Root(str(tmp_path))) as made:
        yield made


def create(root: Root, name: str, edge: int) -> None:
    root.make(name)
    record = canonical(dataset(name, edge).model_dump(mode="json"))
    root.files(name).put(RECORD, record)
    root.enter(name)


def landed(root: Root, name: str, edge: int) -> None:
    """Publish that the chunks of a dataset have landed."""
    with closing(root.bus(name)) as bus:
        bus._db.execute("BEGIN")  # type: ignore[attr-defined]
        for index in dataset(name, edge).grid.indices():
            record = Record("raw", index, "ready", "1", {"raw": "0" * 32})
            key, data = wire.record_key(name, "raw", index), wire.encode(record)
            sql = "INSERT INTO log (topic, key, value) VALUES (?, ?, ?)"
            bus._db.execute(sql, (wire.ledger_topic("raw"), key, data))  # type: ignore[attr-defined]
        bus._db.execute("COMMIT")  # type: ignore[attr-defined]


def waiting(root: Root, name: str) -> int:
    with closing(root.bus(name)) as bus:
        return bus.backlog(TASKS)


def turns_until_a_task(root: Root, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the turns of a host, of a step of each planner, until the small one sent a task."""
    monkeypatch.setattr(loops, "TURN_S", 0.0)
    with closing(PlannerHost(INFERENCE, root, SETTINGS)) as host:
        for turn in range(1000):
            host.turn()
            if waiting(root, "small"):
                return turn
    raise AssertionError("no task of the small dataset")


def test_a_planner_of_many_chunks_takes_turns_with_that_of_a_few(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs as many turns as alone, and none of them does more than a step of each."""
    create(root, "small", 1)
    landed(root, "small", 1)
    alone = turns_until_a_task(root, monkeypatch)
    with closing(root.bus("small")) as bus:
        bus.forget()
    create(root, "big", 20)
    landed(root, "big", 20)
    work: list[int] = []
    most = 0
    wanted, turn, apply = Frontier.wanted, PlannerLoop.turn, Frontier.apply

    def counted(call: Any) -> Any:
        def calling(*args: Any) -> Any:
            work.append(1)
            return call(*args)

        return calling

    def measured(self: PlannerLoop) -> None:
        nonlocal most
        before = len(work)
        turn(self)
        most = max(most, len(work) - before)

    monkeypatch.setattr(Frontier, "wanted", counted(wanted))
    monkeypatch.setattr(Frontier, "apply", counted(apply))
    monkeypatch.setattr(PlannerLoop, "turn", measured)
    assert turns_until_a_task(root, monkeypatch) <= alone + 1
    assert most <= LOOKS + SLICE


def test_a_planner_has_a_bounded_number_of_tasks_under_way(root: Root) -> None:
    create(root, "big", 12)
    landed(root, "big", 12)
    with closing(PlannerHost(INFERENCE, root, SETTINGS)) as host:
        host.turn()
        planner = host.loops["big"].loop.planner
        while planner.more or waiting(root, "big") < WINDOW:
            host.turn()
        for _ in range(5):
            host.turn()
        assert waiting(root, "big") == WINDOW
        assert not planner.frontier.idle and not planner.settled


def flood(root: Root, name: str, count: int) -> None:
    with closing(root.bus(name)) as bus:
        for number in range(count):
            key = f"{name}/prediction/tiny/0.0.{number}"
            bus.send(TASKS, key, wire.encode(Task("prediction/tiny", (0, 0, number), "k", ())))


@pytest.mark.parametrize("after", ["", "big", "small"])
def test_workers_take_a_task_of_each_dataset_in_turn(
    root: Root, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Also when every task of one fails; and one whose task killed the last worker comes last."""
    taken: list[str] = []

    def carry_out(self: WorkerLoop, delivery: Any) -> None:
        taken.append(wire.dataset_of(delivery.key))
        self._bus.acknowledge(delivery, self._owner)

    monkeypatch.setattr(WorkerLoop, "carry_out", carry_out)
    for name in ("big", "small"):
        create(root, name, 9)
    flood(root, "big", 20)
    flood(root, "small", 3)
    with closing(WorkerHost(INFERENCE, root, SETTINGS, "host:1", after=after)) as host:
        for _ in range(4):
            host.turn()
    order = ["small", "big"] if after == "big" else ["big", "small"]
    assert taken == [*order * 3, "big"]


def test_a_worker_that_a_task_killed_comes_back_soon_and_takes_others_first(root: Root) -> None:
    create(root, "big", 9)
    flood(root, "big", 1)
    supervisor = Supervisor("inference", root, (), 1, None)
    child: Any = _Dead()
    with closing(root.bus("big")) as bus:
        assert bus.take(TASKS, f"{_host()}:{child.number}", 30.0) is not None
    child.restarts = 7  # other trouble: it would wait for half a minute
    assert supervisor._pause(child) > 20
    supervisor.children = [child]
    started: list[tuple[str, Any]] = []

    def spawn(name: str, arguments: Any, after: str | None = None) -> Any:
        started.append((name, after))
        return _Dead()

    supervisor._spawn = spawn  # type: ignore[method-assign]
    supervisor.watch()
    assert supervisor._pause(child) == FIRST_PAUSE_S
    supervisor._due["worker-0"] = 0.0
    supervisor.watch()
    assert started == [("worker-0", "big")]


def _host() -> str:
    from socket import gethostname

    return gethostname()


class _Dead:
    """A worker's process that has ended."""

    name, number, arguments, restarts, started = "worker-0", 99, ("work",), 0, float("inf")

    @property
    def process(self) -> Any:
        return self

    def poll(self) -> int:
        return 1
