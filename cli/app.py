"""The frame of the ``fibstream`` command: how words are registered, and how errors end."""

import errno
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar, cast

import typer

from fibstream.core.errors import DiskFull, FibstreamError, WrongUse
from fibstream.runtime.settings import Settings, Value, load
from fibstream.telemetry.logs import last_line, logs

P = ParamSpec("P")
R = TypeVar("R")

DONE, FAILED, WRONG = 0, 1, 2
# ClickException: click's own, or that of the copy which newer versions of typer carry.
COMPLAINT = cast("type[Exception]", typer.BadParameter.mro()[2])
# What the options of the program itself say of settings; each call of it sets them anew.
GIVEN: ContextVar[Mapping[str, str | None]] = ContextVar("GIVEN", default={})  # noqa: B039

log = logging.getLogger(__name__)

app = typer.Typer(
    name="fibstream", add_completion=True, rich_markup_mode=None,
    pretty_exceptions_enable=False, context_settings={"max_content_width": 100},
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="End with one JSON object; the rest to stderr.")]
Voxel = Annotated[
    str | None,
    typer.Option("--voxel-size-nm", metavar="Z,Y,X", help="Voxel size; may be in the input."),
]
Chunk = Annotated[
    str | None, typer.Option("--chunk", metavar="Z,Y,X", help="Chunk edges in voxels, 1 to 512.")
]
Raw = Annotated[str, typer.Option("--raw", metavar="PATH", help="The volume, see docs/formats.")]
Out = Annotated[Path, typer.Option("--out", metavar="PATH.zarr", help="The dataset to write.")]


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Register a command whose errors are one clear line and an exit code."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        with in_force():
            log.debug("%s %s", function.__name__, kwargs)
            try:
                return function(*args, **kwargs)
            except (WrongUse, DiskFull) as error:
                fail(str(error), WRONG)
            except FibstreamError as error:
                fail(str(error), FAILED)
            except OSError as error:
                refuse(error)
            except KeyboardInterrupt:
                fail("stopped; call again with the same --out to go on", 130)

    app.command()(guarded)
    return guarded


def in_force() -> AbstractContextManager[None]:
    """Return the context of a command: its log lines; settings that are wrong end it at once."""
    try:
        found, _ = settings()
        return logs(found.log_level, found.log_format)
    except WrongUse as error:
        fail(str(error), WRONG)


def settings(**flags: Any) -> tuple[Settings, dict[str, Value]]:
    """Return the settings in force and their sources; ``flags`` of a command, None if not given."""
    return load({**GIVEN.get(), **flags})


def refuse(error: OSError) -> NoReturn:
    """Say what the system refuses: one line when it names a file, else it is a bug of ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fail(f"no space left: {error.filename or 'the disk is full'}", WRONG)
    if error.filename is None:
        raise error
    log.debug("refused", exc_info=error)
    fail(f"{error.filename}: {error.strerror or error}", FAILED)


def fail(message: str, code: int) -> NoReturn:
    """Print one line, as log lines are printed, and exit."""
    sys.stderr.write(last_line(message) + "\n")
    raise typer.Exit(code)


def say(text: str) -> None:
    """Print a result."""
    sys.stdout.write(text + "\n")


def triple(text: str | None) -> tuple[float, float, float] | None:
    """Parse ``--voxel-size-nm``."""
    from .flags import parse_triple

    return None if text is None else parse_triple(text, "--voxel-size-nm", float)
