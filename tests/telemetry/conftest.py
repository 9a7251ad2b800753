"""Fixtures of metrics: a line whose chunks have landed, and an adapter for Prometheus."""

import pytest

from fibstream.telemetry.prometheus import Prometheus

from .counted import CountedLine


@pytest.fixture
def line() -> CountedLine:
    """A line whose chunks have landed."""
    landed = CountedLine()
    landed.land()
    return landed


@pytest.fixture
def prometheus() -> Prometheus:
    """The metrics of one service."""
    return Prometheus("blur", "1.0")
