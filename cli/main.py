"""The ``fibstream`` command: its own options, completion, and how it ends."""

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer

from . import commands  # noqa: F401  (registers them)
from .app import DONE, INTERRUPTED, PROGRAM_OPTIONS, USAGE_ERROR, WRONG, app

# What fibstream runs on. Files are replaced, locked and synced as POSIX has it.
SYSTEMS = ("linux", "darwin")
SHELLS = ("bash", "zsh", "fish")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(version("fibstream"))
        raise typer.Exit(DONE)


@app.callback()
def main(
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="text|json", help="How log lines are printed.")
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show and exit.")
    ] = False,
) -> None:
    """Segment and measure organelles in FIB-SEM volumes while the microscope is still milling.

    Example: fibstream --log-level info run --raw volume.tif --pipeline mito --out cell.zarr
    """
    PROGRAM_OPTIONS.set({"log_level": log_level, "log_format": log_format})


def unsupported(system: str) -> str | None:
    """Return why fibstream does not run on a ``sys.platform``; None where it does."""
    if system in SYSTEMS:
        return None
    name = "Windows" if system in ("win32", "cygwin") else system
    return f"does not run on {name}; expected Linux, or WSL 2 on Windows"


def complete(arguments: list[str]) -> list[str]:
    """Let ``--show-completion`` be followed by a shell; without one it is the shell that calls."""
    if arguments[:1] == ["--show-completion"] and len(arguments) > 1:
        if arguments[1] not in SHELLS:
            raise typer.BadParameter(
                f"no completion for {arguments[1]}; expected {', '.join(SHELLS)}"
            )
        os.environ["_FIBSTREAM_COMPLETE"] = f"source_{arguments[1]}"
    return arguments


def entry() -> None:
    """Run the command; complaints about its flags become one line as well."""
    if (reason := unsupported(sys.platform)) is not None:
        sys.stderr.write(f"fibstream: {reason}\n")
        sys.exit(WRONG)
    try:
        arguments = complete(sys.argv[1:] or ["--help"])
        code = app(arguments, prog_name="fibstream", standalone_mode=False)
    except USAGE_ERROR as error:
        message = cast("Any", error).format_message()
        sys.stderr.write("fibstream: " + " ".join(message.split()) + "\n")
        code = WRONG
    except typer.Abort:
        code = INTERRUPTED
    sys.exit(code or DONE)
