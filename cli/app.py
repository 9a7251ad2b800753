"""The frame of the ``fibstream`` command: how commands are registered, and how errors end."""

import errno
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import typer

from fibstream.core.errors import DiskFull, FibstreamError, WrongUse
from fibstream.runtime.settings import Settings, Value, load
from fibstream.telemetry.logs import last_line, logs

P = ParamSpec("P")
R = TypeVar("R")

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130  # exit codes
# ClickException: click's own, or that of the copy which newer versions of typer carry.
USAGE_ERROR = cast("type[Exception]", typer.BadParameter.mro()[2])
Options = Mapping[str, str | None]
# Settings from the options of the program itself; each call sets them anew.
PROGRAM_OPTIONS: ContextVar[Options] = ContextVar("PROGRAM_OPTIONS", default={})  # noqa: B039

log = logging.getLogger(__name__)

app = typer.Typer(
    name="fibstream", add_completion=True, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"max_content_width": 100},
)  # fmt: skip


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Register a command whose errors are one clear line and an exit code."""
    return _registered(function, "stopped")


def resumable(function: Callable[P, R]) -> Callable[P, R]:
    """Register a command that goes on where it was stopped when it is called again."""
    return _registered(function, "stopped; the same call again goes on")


def _registered(function: Callable[P, R], stopped: str) -> Callable[P, R]:
    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with logging_context():
            log.debug("%s %s", function.__name__, kwargs)
            try:
                return function(*args, **kwargs)
            except (WrongUse, DiskFull) as error:
                fail(str(error), WRONG)
            except FibstreamError as error:
                fail(str(error), FAILED)
            except OSError as error:
                exit_with_os_error(error)
            except KeyboardInterrupt:
                fail(stopped, INTERRUPTED)

    app.command()(guarded)
    return guarded


def logging_context() -> AbstractContextManager[None]:
    """Return the context in which a command logs; wrong settings end the process."""
    try:
        found, _ = settings()
        return logs(found.log_level, found.log_format)
    except WrongUse as error:
        fail(str(error), WRONG)


def settings(**flags: Any) -> tuple[Settings, dict[str, Value]]:
    """Return the effective settings and their sources; ``flags`` that are None do not count."""
    return load({**PROGRAM_OPTIONS.get(), **flags})


def exit_with_os_error(error: OSError) -> NoReturn:
    """Print an error of the system in one line and exit; one that names no file is a bug."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fail(f"no space left: {error.filename or 'the disk is full'}", WRONG)
    if error.filename is None:
        raise error
    log.debug("system error", exc_info=error)
    fail(f"{error.filename}: {error.strerror or error}", FAILED)


def fail(message: str, code: int) -> NoReturn:
    """Print one line, as log lines are printed, and exit."""
    sys.stderr.write(last_line(message) + "\n")
    raise typer.Exit(code)


def voxel_size(text: str | None) -> tuple[float, float, float] | None:
    """Parse ``--voxel-size-nm``, (z, y, x) in nm; None stays None."""
    from .flags import parse_triple

    return None if text is None else parse_triple(text, "--voxel-size-nm", float)
