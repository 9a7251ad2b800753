"""Declare the topics: ``python -m fibstream.bus.kafka HOST:PORT[,HOST:PORT]``."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from fibstream.core.errors import FibstreamError, WrongUse

from .declare import declare

USAGE = "usage: python -m fibstream.bus.kafka HOST:PORT[,HOST:PORT]"


def main(arguments: Sequence[str]) -> None:
    """Print the names of the topics that were missing; end with one line on an error."""
    if len(arguments) != 1:
        _fail(USAGE, 2)
    try:
        names = declare(arguments[0])
    except FibstreamError as error:
        _fail(f"fibstream: {error}", 2 if isinstance(error, WrongUse) else 1)
    sys.stdout.write("".join(f"declared {name}\n" for name in names))


def _fail(line: str, code: int) -> NoReturn:
    sys.stderr.write(line + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
