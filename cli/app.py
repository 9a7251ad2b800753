"""The frame of the ``fibstream`` command: how words are registered, and how errors end."""

import errno
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec, TypeVar, cast

import typer

from fibstream.errors import DiskFull, FibstreamError, WrongUse

P = ParamSpec("P")
R = TypeVar("R")

DONE, FAILED, WRONG = 0, 1, 2
# ClickException: click's own, or that of the copy which newer versions of typer carry.
COMPLAINT = cast("type[Exception]", typer.BadParameter.mro()[2])

app = typer.Typer(
    name="fibstream", add_completion=True, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Segment and measure organelles in FIB-SEM volumes while the microscope is still milling.",
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
        try:
            return function(*args, **kwargs)
        except (WrongUse, DiskFull) as error:
            fail(str(error), WRONG)
        except FibstreamError as error:
            fail(str(error), FAILED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            fail(f"no space left: {error.filename or 'the disk is full'}", WRONG)
        except KeyboardInterrupt:
            fail("stopped; call again with the same --out to go on", 130)

    app.command()(guarded)
    return guarded


def fail(message: str, code: int) -> NoReturn:
    """Print one line and exit."""
    sys.stderr.write("fibstream: " + " ".join(message.split()) + "\n")
    raise typer.Exit(code)


def say(text: str) -> None:
    """Print a result."""
    sys.stdout.write(text + "\n")


def triple(text: str | None) -> tuple[float, float, float] | None:
    """Parse ``--voxel-size-nm``."""
    from .flags import parse_triple

    return None if text is None else parse_triple(text, "--voxel-size-nm", float)
