"""Settings of a run, from flag, environment ``FIBSTREAM_*``, ``fibstream.toml``, default.

And what follows at once from two of them: where log lines go, and how they look. Every program and
every process of a service sends its lines to stderr, through ``logs``, and nowhere else.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator

from fibstream.core.dataset import Frozen
from fibstream.core.errors import WrongUse

FILE = "fibstream.toml"
PREFIX = "FIBSTREAM_"
SERVICE = "FIBSTREAM_SERVICE"  # given to a child process: the name that its log lines carry
# Read by tests or by single commands, not settings of a run.
OTHER = {
    "FIBSTREAM_SHARED", "FIBSTREAM_SERVER", "FIBSTREAM_REQUIRE_KAFKA",
    "FIBSTREAM_REQUIRE_CHROMIUM", SERVICE,
}  # fmt: skip
PROGRAM = "fibstream"  # the name that those of the command carry
OURS = "fibstream"  # the logger above all of ours: others tell from warnings on, numba tells books
FRAMES = ("typer", "click")  # their exceptions are how a command ends
_ERROR = {"levelno": logging.ERROR, "levelname": "ERROR"}
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"

log = logging.getLogger(__name__)


class Settings(Frozen):
    """What a user may set besides the input itself; each field's description is its help."""

    workers: int = Field(1, ge=1, le=256, description="worker processes per service")
    threads: int = Field(1, ge=1, le=256, description="network threads per inference worker")
    lease_s: float = Field(30.0, gt=0, le=3600, description="a task not renewed so long is free")
    reconcile_s: float = Field(30.0, gt=0, le=86400, description="how often store and log compare")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="least severity that is printed"
    )
    log_format: Literal["text", "json"] = Field("text", description="how log lines are printed")

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag(cls, value: object) -> object:
        """Refuse ``workers = true``, which Python takes for 1."""
        if isinstance(value, bool):
            raise ValueError("expected a number or a word, not true or false")
        return value


class Value(NamedTuple):
    """A setting with where it came from."""

    value: Any
    source: str


def load(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[Settings, dict[str, Value]]:
    """Return the settings in force, and where each came from; raise WrongUse on a wrong one."""
    environment = os.environ if environment is None else environment
    found = {n: Value(f.default, "default") for n, f in Settings.model_fields.items()}
    found |= _from_file((folder or Path()) / FILE)
    found |= _from_environment(environment)
    found |= {
        n: Value(v, f"--{n.replace('_', '-')}") for n, v in (flags or {}).items() if v is not None
    }
    try:
        return Settings(**{n: v.value for n, v in found.items()}), found
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        at = found[name]
        wrong = first["msg"].removeprefix("Value error, ")
        raise WrongUse(f"{name} = {at.value!r} (from {at.source}): {wrong}") from error


def _from_file(path: Path) -> dict[str, Value]:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise WrongUse(f"{path}: not readable as TOML: {error}") from error
    return {name: Value(value, str(path)) for name, value in _known(values, str(path)).items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in OTHER
    }
    return {
        name: Value(value, PREFIX + name.upper())
        for name, value in _known(given, "the environment").items()
    }


def _known(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for name in values:
        if name not in Settings.model_fields:
            allowed = ", ".join(Settings.model_fields)
            raise WrongUse(f"unknown setting {name!r} in {where}; known: {allowed}")
    return values


# -- log lines -----------------------------------------------------------------------------------


class JsonLines(logging.Formatter):
    """One JSON object per line; its time is ISO 8601 in UTC, an exception the traceback's text."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of a record, all of it ASCII and without a line break."""
        moment = datetime.fromtimestamp(record.created, UTC)
        said: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "service": self._service,
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


class _Lines(logging.StreamHandler[Any]):
    """Our own handler: an inner ``logs`` finds it and takes its place."""

    def __init__(self, log_format: str, service: str) -> None:
        super().__init__(sys.stderr)
        self.service = service
        self.as_json = log_format == "json"
        self.setFormatter(JsonLines(service) if self.as_json else logging.Formatter(LINE))


@contextlib.contextmanager
def logs(settings: Settings, service: str | None = None) -> Iterator[None]:
    """Send the log lines of this process to stderr while the context lasts.

    ``service`` is the name that they carry; None keeps the one in force. As JSON, warnings of
    Python and what would end the process or one of its threads with a traceback are such lines too.
    """
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    outer = [handler for handler in root.handlers if isinstance(handler, _Lines)]
    name = service or next((h.service for h in outer), os.environ.get(SERVICE, PROGRAM))
    handler = _Lines(settings.log_format, name)
    level = getattr(logging, settings.log_level.upper())
    before = root.level, ours.level
    for other in outer:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    ours.setLevel(level)
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


def words_of(line: str) -> str:
    """Return what the last line of a log says to a person, whichever its format."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line.removeprefix(f"{PROGRAM}: ")
