"""Fixtures of planner and worker: a line whose chunks have landed, and a finished one."""

import pytest

from .line import Finished, Line, settle


@pytest.fixture
def line() -> Line:
    """A line whose chunks have landed."""
    landed = Line()
    landed.land()
    return landed


@pytest.fixture
def finished(line: Line) -> Finished:
    """A line of which everything is made, and its planner."""
    planner = line.planner()
    settle(line, planner)
    return line, planner
