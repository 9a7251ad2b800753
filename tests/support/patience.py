"""How long tests wait for what they cannot hurry: time alone never decides whether one passes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A machine that is shared may stand still for minutes; what hangs is ended all the same, here with
# the name of what was waited for, and by pytest's own limit, which is longer, without it.
PATIENCE_S = 600.0
LOOK_S = 0.02


def eventually(condition: Callable[[], T | None], what: str) -> T:
    """Return the first true value of a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(LOOK_S)
    return found
