"""Declare the topics: ``python -m fibstream.bus.kafka HOST:PORT[,HOST:PORT]``."""

import sys

from .declare import declare

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m fibstream.bus.kafka HOST:PORT[,HOST:PORT]")
    sys.stdout.write("".join(f"declared {name}\n" for name in declare(sys.argv[1])))
