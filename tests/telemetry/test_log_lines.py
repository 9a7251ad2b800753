"""Log lines as JSON have the documented fields, whatever another library puts into a record."""

import json
import logging
from typing import Any

import pytest

from fibstream.telemetry.logs import JsonLines


def line(**given: Any) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "a", "msg": "b", "levelname": "INFO", **given})
    found: dict[str, Any] = json.loads(JsonLines("refine").format(record))
    return found


@pytest.mark.parametrize(
    ("created", "time"),
    [(1.7e9, "2023-11-14T22:13:20.000+00:00"), (1.7e9 + 0.125, "2023-11-14T22:13:20.125+00:00")],
)
def test_times_have_milliseconds(created: float, time: str) -> None:
    assert line(created=created)["time"] == time


def test_a_level_that_is_no_text_is_no_error() -> None:
    assert line(msg={"level": 5, "message": "b"})["level"] == "5"
