"""A broker that goes and comes back, or was never there."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from fibstream.bus.kafka import KafkaBus
from fibstream.bus.kafka.declare import declare
from fibstream.core.errors import Retryable

from ..support.broker import Broker, patiently, running, skip_or_fail
from ..support.patience import PATIENCE_S
from .waiting import RAW, TASKS, drain, eventually, everything, take

Call = Callable[[], object]


@pytest.fixture
def own() -> Iterator[Broker]:
    """A broker that a test may end."""
    skip_or_fail()
    with running() as one:
        # All of them are recovered after a kill.
        patiently(lambda: declare(one.servers, ["refine"], partitions=2))
        yield one


def refused(call: Call) -> None:
    """Expect a call to raise Retryable within its bound."""
    begun = time.monotonic()
    with pytest.raises(Retryable):
        call()
    assert time.monotonic() - begun < PATIENCE_S


def all_refused(*calls: Call) -> None:
    """Expect it of several calls, which wait for the same broker at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(refused, calls))


def succeeds(call: Call) -> bool:
    """Whether a call does not raise Retryable."""
    try:
        call()
    except Retryable:
        return False
    return True


def test_a_broker_that_is_killed_loses_nothing_and_holds_nobody(own: Broker) -> None:
    bus = KafkaBus(own.servers, "d", private=True, session_s=2.0)
    other = KafkaBus(own.servers, "d")
    with closing(bus), closing(other):
        for n in range(50):
            bus.publish(RAW, f"d/{n}", str(n).encode())
        for n in range(5):
            bus.send(TASKS, f"d/{n}", b"")
        assert bus.backlog(TASKS) == 5
        held = take(bus)
        end = bus.end([RAW])
        own.kill()
        other.send(TASKS, "d/lost", b"")
        all_refused(
            lambda: bus.publish(RAW, "d/50", b"50"),
            lambda: bus.read([RAW], end),
            lambda: bus.backlog(TASKS),
            lambda: bus.acknowledge(held, "w1"),
            lambda: other.wait(1),  # the task did not get there
        )
        own.start()
        eventually(lambda: succeeds(lambda: bus.publish(RAW, "d/50", b"50")), "still away")
        assert {int(e.value) for e in everything(bus, [RAW])} == set(range(51))
        bus.acknowledge(held, "w1")
        assert bus.backlog(TASKS) in (4, 5)  # reported as lost, it may yet have come
        assert {f"d/{n}" for n in range(5)} - {held.key} <= set(drain(bus))
        with closing(KafkaBus(own.servers, "d")) as fresh:
            assert {int(e.value) for e in everything(fresh, [RAW])} == set(range(51))
            assert fresh.end([RAW]) == bus.end([RAW])


def test_a_broker_that_was_never_there_is_reported_in_time() -> None:
    with closing(KafkaBus("127.0.0.1:1", "d")) as bus:
        calls: list[Call] = [
            lambda: bus.publish(RAW, "d/1", b""),
            lambda: bus.read([RAW], 0),
            lambda: declare("127.0.0.1:1"),
        ]
        all_refused(*calls * 2)  # one after the other they would take longer than the bound
