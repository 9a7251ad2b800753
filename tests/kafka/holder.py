"""A worker in a process of its own that takes one task and holds it: ``SERVERS DATASET TOPIC``."""

import sys

from fibstream.bus.kafka import KafkaBus


def main() -> None:
    servers, dataset, topic = sys.argv[1:]
    bus = KafkaBus(servers, dataset, private=True, session_s=2.0)
    while bus.take(topic, "holder", 10) is None:
        bus.wait(1.0)
    print("held", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
