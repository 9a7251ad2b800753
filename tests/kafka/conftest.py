"""Buses on a real broker, each test with a dataset of its own."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fibstream.bus.kafka import KafkaBus

from ..support.broker import Broker, broker  # noqa: F401
from .waiting import Connect

_numbers = itertools.count()


@pytest.fixture
def dataset() -> str:
    """A name that no other test, and no other run on this broker, has used."""
    return f"k{time.time_ns()}-{next(_numbers)}"


@pytest.fixture
def connect(broker: Broker, dataset: str) -> Iterator[Connect]:  # noqa: F811
    """Open buses of the dataset; they are closed after the test."""
    opened: list[KafkaBus] = []

    def make(scope: str | None = dataset, **options: Any) -> KafkaBus:
        options.setdefault("private", scope is not None)
        bus = KafkaBus(broker.servers, scope, **{"session_s": 2.0} | options)
        opened.append(bus)
        return bus

    yield make
    for bus in opened:
        bus.close()
