"""Log lines as JSON have the documented fields, whatever another library puts into a record."""

import json
import logging
from typing import Any

import pytest

from fibstream.telemetry.logs import MAX_LINE, JsonLines, logs


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


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_a_line_repeats_has_an_end(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with logs("info", log_format, "refine"):
        logger = logging.getLogger("fibstream.test")
        logger.info("given %s", "x" * 10**6)
        try:
            raise ValueError("y" * 10**6)
        except ValueError:
            logger.exception("a call failed")
        logger.info("given %s", "short")
    err = capsys.readouterr().err
    assert len(err) < 4 * MAX_LINE
    assert "given xxx" in err and "ValueError: yyy" in err and "a call failed" in err
    assert "in test_what_a_line_repeats_has_an_end" in err and "given short" in err
    if log_format == "json":
        assert [json.loads(each)["level"] for each in err.splitlines()] == ["info", "error", "info"]
