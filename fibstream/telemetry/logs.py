"""Log lines: where they go, and how they look.

Every program and every process of a service sends its lines to stderr, through ``logs``, and
nowhere else.
"""

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from pythonjsonlogger.json import JsonFormatter

SERVICE_VARIABLE = "FIBSTREAM_SERVICE"  # given to a child process: the name in its log lines
PROGRAM = "fibstream"  # the name in those of the command
OURS = "fibstream"  # the logger above all of ours: others log from warnings on, numba logs much
FRAMES = ("typer", "click")  # their exceptions are how a command ends
FIELDS = ("time", "level", "logger", "message", "process", "service")  # of a JSON line
_ERROR = {"levelno": logging.ERROR, "levelname": "ERROR"}
MAX_LINE = 8000  # characters of a message, and of a traceback: its end says what happened
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class JsonLines(JsonFormatter):
    """One JSON object per line; its time is ISO 8601 in UTC, an exception the traceback's text."""

    def __init__(self, service: str) -> None:
        super().__init__(
            "{levelname}{name}{message}{process}", style="{", timestamp="time",
            static_fields={"service": service},
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        )  # fmt: skip

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Return the fields in the documented order; levels are written as the setting has them."""
        time, level = log_data["time"].isoformat(timespec="milliseconds"), log_data["level"]
        found = {**log_data, "time": time, "level": str(level).lower()}
        return {name: found.pop(name) for name in FIELDS} | found


class _Lines(logging.StreamHandler[Any]):
    """Our own handler: an inner ``logs`` finds it and takes its place."""

    def __init__(self, log_format: str, service: str) -> None:
        super().__init__(sys.stderr)
        self.service = service
        self.as_json = log_format == "json"
        self.setFormatter(JsonLines(service) if self.as_json else logging.Formatter(LINE))

    def format(self, record: logging.LogRecord) -> str:
        """Return a line; what a message or a traceback repeats of anybody's input has an end."""
        return super().format(shortened(record, self.formatter or logging.Formatter()))


def shortened(record: logging.LogRecord, formatter: logging.Formatter) -> logging.LogRecord:
    """Return a record whose message and traceback are at most ``MAX_LINE`` characters each."""
    message = record.getMessage()
    trace = formatter.formatException(record.exc_info) if record.exc_info else ""
    if len(message) <= MAX_LINE and len(trace) <= MAX_LINE:
        return record
    short = logging.makeLogRecord(record.__dict__)
    if len(message) > MAX_LINE:
        short.msg, short.args = f"{message[:MAX_LINE]}...", None
    if len(trace) > MAX_LINE:
        lines = (line if len(line) <= 200 else f"{line[:200]}..." for line in trace.splitlines())
        short.exc_info, short.exc_text = None, "\n".join(lines)[-MAX_LINE:]
    return short


@contextlib.contextmanager
def logs(level: str, log_format: str, service: str | None = None) -> Iterator[None]:
    """Send the log lines of this process to stderr while the context lasts.

    ``service`` is the name that they carry; None keeps the one in force. As JSON, warnings of
    Python and what would end the process or one of its threads with a traceback are such lines too.
    """
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    outer = [handler for handler in root.handlers if isinstance(handler, _Lines)]
    name = service or next((h.service for h in outer), os.environ.get(SERVICE_VARIABLE, PROGRAM))
    handler = _Lines(log_format, name)
    least = getattr(logging, level.upper())
    before = root.level, ours.level
    for other in outer:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(max(least, logging.WARNING))
    ours.setLevel(least)
    try:
        with _as_lines(inner=bool(outer)) if handler.as_json else contextlib.nullcontext():
            yield
    finally:
        root.removeHandler(handler)
        for other in outer:
            root.addHandler(other)
        root.setLevel(before[0])
        ours.setLevel(before[1])


@contextlib.contextmanager
def _as_lines(*, inner: bool) -> Iterator[None]:
    """Have what Python itself would print on stderr be logged; the outermost ends the process."""

    def fall(given: threading.ExceptHookArgs) -> None:
        if given.exc_value is not None and not isinstance(given.exc_value, SystemExit):
            trace = (given.exc_type, given.exc_value, given.exc_traceback)
            log.critical("a thread ended: %r", given.exc_value, exc_info=trace)

    hook, threading.excepthook = threading.excepthook, fall
    logging.captureWarnings(True)
    try:
        yield
    except Exception as error:
        if inner or type(error).__module__.partition(".")[0] in FRAMES:
            raise
        log.critical("ended: %r", error, exc_info=True)
        sys.exit(1)
    finally:
        if not inner:
            logging.captureWarnings(False)
        threading.excepthook = hook


def last_line(message: str) -> str:
    """Return the one line with which a process ends that an error of ours ended, as logs are."""
    text = " ".join(message.split())
    handlers = (h for h in logging.getLogger().handlers if isinstance(h, _Lines))
    handler = next(handlers, None)
    if handler is None or not handler.as_json:
        return f"{PROGRAM}: {text}"
    return handler.format(logging.makeLogRecord({"name": OURS, "msg": text, **_ERROR}))


def message_of(line: str) -> str:
    """Return the message of the last line of a log, whichever its format."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line.removeprefix(f"{PROGRAM}: ")
