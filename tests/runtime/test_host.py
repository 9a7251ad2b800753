"""Planners of many datasets take their turns when there is something to do, and not otherwise."""

import time
from collections import Counter
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from fibstream.core.errors import NotFound
from fibstream.runtime import host as host_module
from fibstream.runtime.host import HostedPlanner, PlannerHost
from fibstream.runtime.root import Listed


class Watch:
    """The record of a dataset, which may have another pipeline."""

    def __init__(self) -> None:
        self.new = False

    def changed(self) -> bool:
        return self.new


class Loop:
    """A planner that counts its turns."""

    def __init__(self) -> None:
        self.turns = 0
        self.due = float("inf")
        self.gone = False
        self.record = Watch()
        self.outdated = False

    def turn(self) -> None:
        if self.gone:
            raise NotFound("its record")
        self.turns += 1

    def close(self) -> None:
        pass


class Bus:
    """A bus that counts how often it is polled."""

    is_current = True

    def __init__(self) -> None:
        self.changed = False
        self.polls = Counter[bool]()

    def wait(self, timeout_s: float) -> bool:
        self.polls[timeout_s == 0] += 1
        found, self.changed = self.changed, False
        return found

    def close(self) -> None:
        pass


class FakeRoot:
    single = False

    def __init__(self, names: Iterable[str]) -> None:
        self.found = list(names)

    def listed(self) -> Listed:
        return Listed(set(self.found), {})

    def report(self, service: str, reasons: Any) -> None:
        pass

    def generation(self, name: str) -> None:
        """No dataset has a record."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def hosted() -> HostedPlanner:
    loop: Any = Loop()
    bus: Any = Bus()
    return HostedPlanner(loop, bus)


def planners(*names: str) -> Any:
    fake: Any = SimpleNamespace(name="any")
    root: Any = FakeRoot(names)
    host: Any = PlannerHost(fake, root, fake)
    host.loops = {name: hosted() for name in names}
    return host


def turns(host: Any) -> dict[str, int]:
    return {name: hosted_.loop.turns for name, hosted_ in host.loops.items()}


def test_every_planner_begins_with_a_turn(clock: list[float]) -> None:
    host = planners("a", "b")
    assert not host.turn()
    assert turns(host) == {"a": 1, "b": 1}


def test_a_quiet_dataset_costs_no_turns_and_few_polls(clock: list[float]) -> None:
    host = planners("a", "b")
    host.turn()
    for _ in range(3000):  # a minute
        clock[0] += 0.02
        host.turn()
    assert turns(host) == {"a": 1, "b": 1}
    assert host.loops["a"].bus.polls[True] < 400


def test_a_change_of_one_dataset_is_its_own(clock: list[float]) -> None:
    host = planners("a", "b")
    host.turn()
    for _ in range(50):
        clock[0] += 0.02
        host.loops["a"].bus.changed = True
        host.turn()
    assert turns(host) == {"a": 51, "b": 1}


def test_a_change_after_a_long_quiet_waits_half_a_second_at_most(clock: list[float]) -> None:
    host = planners("a", "b")
    host.turn()
    for _ in range(1000):
        clock[0] += 0.1
        host.turn()
    host.loops["b"].bus.changed = True
    waited = 0
    while host.loops["b"].loop.turns < 2:
        waited += 1
        clock[0] += 0.02
        host.turn()
        assert waited < 100
    assert waited * 0.02 <= host_module.MAX_POLL_S + 0.02


def test_what_is_due_takes_its_turn_without_a_change(clock: list[float]) -> None:
    host = planners("a", "b")
    host.turn()
    host.loops["b"].loop.due = clock[0] + 1
    clock[0] += 0.5
    assert not host.turn()
    clock[0] += 0.5
    assert host.turn()  # still due: the next turn follows at once
    assert turns(host) == {"a": 1, "b": 2}


def test_one_that_was_deleted_is_closed(clock: list[float]) -> None:
    host = planners("a", "b")
    host.loops["a"].loop.gone = True
    host.turn()
    assert turns(host) == {"b": 1}


@pytest.mark.parametrize("told", [True, False])
def test_a_planner_of_an_earlier_pipeline_is_replaced(clock: list[float], *, told: bool) -> None:
    host = planners("a", "b")
    host._open = lambda _: hosted()
    host.turn()
    before = dict(host.loops)
    loop = before["a"].loop
    if told:  # by an entry in its log
        loop.outdated, before["a"].bus.changed = True, True
    else:  # the entry is lost
        loop.record.new = True
    clock[0] += host_module.SCAN_S if not told else 0.1
    host.turn()
    assert host.loops["a"] is not before["a"]
    assert host.loops["b"] is before["b"]
    clock[0] += 0.1
    host.turn()
    assert turns(host)["a"] == 1


def test_the_only_planner_waits_on_its_bus_until_it_is_due() -> None:
    host = planners("a")
    bus, loop = host.loops["a"].bus, host.loops["a"].loop
    waited: list[float] = []

    def wait(timeout_s: float) -> bool:
        waited.append(timeout_s)
        return False

    bus.wait = wait
    host.turn()
    loop.due = time.monotonic() + 0.1
    host.wait(5)
    assert 0 < waited[-1] <= 0.1
    loop.due = 0
    host.wait(5)
    assert waited[-1] == 0
