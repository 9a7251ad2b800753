"""One of several processes on one bus: take tasks until none is left, and tell which they were.

Usage: ``taker.py BUS OWNER OWNERS``. Every process holds its first task until all hold one, so
that none of them can have been handed to two.
"""

import sys
from pathlib import Path

from fibstream.bus.sqlite import SqliteBus


def main() -> None:
    path, owner, owners = sys.argv[1:]
    bus = SqliteBus(Path(path))
    delivery = bus.take("tasks", owner, 3600)
    bus.publish("holding", owner, b"")
    while len(bus.read(["holding"], 0)) < int(owners):
        bus.wait(0.1)
    while delivery is not None:
        bus.publish("taken", f"{owner}/{delivery.id}", delivery.key.encode())
        bus.acknowledge(delivery, owner)
        delivery = bus.take("tasks", owner, 3600)
    bus.close()


if __name__ == "__main__":
    main()
