"""Planners of many datasets take their turns when there is something to do, and not otherwise."""

import time
from collections import Counter

import pytest

from fibstream.core.errors import NotFound
from fibstream.runtime import host as hosts
from fibstream.runtime.host import HostedPlanner, PlannerHost


class Loop:
    """A planner that counts its turns."""

    def __init__(self) -> None:
        self.turns = 0
        self.due = float("inf")
        self.gone = False

    def turn(self) -> None:
        if self.gone:
            raise NotFound("its record")
        self.turns += 1

    def close(self) -> None:
        pass


class Bus:
    """A bus that counts how often it is asked."""

    def __init__(self) -> None:
        self.news = False
        self.looks = Counter()

    def wait(self, timeout_s):
        self.looks[timeout_s == 0] += 1
        found, self.news = self.news, False
        return found

    def close(self) -> None:
        pass


class Nothing:
    single = False

    def __init__(self, names) -> None:
        self.found = list(names)

    def names(self):
        return self.found


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(hosts.time, "monotonic", lambda: now[0])
    return now


def planners(*names):
    made = PlannerHost(None, Nothing(names), None)
    made._loops = {name: HostedPlanner(Loop(), Bus()) for name in names}
    return made


def turns(made):
    return {name: planned.loop.turns for name, planned in made._loops.items()}


def test_every_planner_begins_with_a_turn(clock):
    made = planners("a", "b")
    assert not made.turn()
    assert turns(made) == {"a": 1, "b": 1}


def test_a_quiet_dataset_costs_no_turns_and_few_looks(clock):
    made = planners("a", "b")
    made.turn()
    for _ in range(3000):  # a minute
        clock[0] += 0.02
        made.turn()
    assert turns(made) == {"a": 1, "b": 1}
    assert made._loops["a"].bus.looks[True] < 400


def test_news_of_one_dataset_are_its_own(clock):
    made = planners("a", "b")
    made.turn()
    for _ in range(50):
        clock[0] += 0.02
        made._loops["a"].bus.news = True
        made.turn()
    assert turns(made) == {"a": 51, "b": 1}


def test_news_after_a_long_calm_wait_half_a_second_at_most(clock):
    made = planners("a", "b")
    made.turn()
    for _ in range(1000):
        clock[0] += 0.1
        made.turn()
    made._loops["b"].bus.news = True
    waited = 0
    while made._loops["b"].loop.turns < 2:
        waited += 1
        clock[0] += 0.02
        made.turn()
        assert waited < 100
    assert waited * 0.02 <= hosts.MAX_POLL_S + 0.02


def test_what_is_due_takes_its_turn_without_news(clock):
    made = planners("a", "b")
    made.turn()
    made._loops["b"].loop.due = clock[0] + 1
    clock[0] += 0.5
    assert not made.turn()
    clock[0] += 0.5
    assert made.turn()  # still due: the next turn follows at once
    assert turns(made) == {"a": 1, "b": 2}


def test_one_that_was_deleted_is_let_go(clock):
    made = planners("a", "b")
    made._loops["a"].loop.gone = True
    made.turn()
    assert turns(made) == {"b": 1}


def test_the_only_planner_waits_on_its_bus_until_it_is_due():
    made = planners("a")
    bus, loop = made._loops["a"].bus, made._loops["a"].loop
    waited = []
    bus.wait = lambda timeout_s: waited.append(timeout_s) or False
    made.turn()
    loop.due = time.monotonic() + 0.1
    made.wait(5)
    assert 0 < waited[-1] <= 0.1
    loop.due = 0
    made.wait(5)
    assert waited[-1] == 0
