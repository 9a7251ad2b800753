"""What the port ``Bus`` promises whatever strangers put on logs and queues."""

from fibstream.bus.reading import UNREADABLE
from fibstream.core.ports import Bus

from .harness import BusHarness, BusSuite, everything, last

NO_TEXT = b"\xff\xfe"
# Keys that are no text, or none, and values that are none.
STRANGE: tuple[tuple[bytes | None, bytes | None], ...] = (
    (NO_TEXT, b"x"), (None, b"x"), (NO_TEXT, None), (None, b""), (b"/" + NO_TEXT, b""),
)  # fmt: skip


class StrangerTests(BusSuite):
    """An item without a key that is text, or without a value, is counted and passed over."""

    def test_a_log_is_read_past_what_is_no_entry(self, harness: BusHarness, bus: Bus) -> None:
        """What is written before and after it is read, and the end is that of what is read."""
        logs, written = self.logs[:2], []
        for number, (key, value) in enumerate(STRANGE):
            self.inject(bus, logs[0], key, value)
            harness.publish(f"k{number}", bytes([number]), number % 2)
            written.append((logs[number % 2], f"k{number}", bytes([number])))
        self.inject(bus, logs[0], *STRANGE[0])
        for reader in (bus, harness.worker("reader")):
            found = everything(reader, logs, limit=2)
            assert sorted(last(found)) == sorted(written)
            assert found[-1].offset == reader.end(logs)
            assert reader.read(logs, found[-1].offset) == []

    def test_a_queue_delivers_past_what_is_no_task(self, harness: BusHarness, bus: Bus) -> None:
        """Every task comes, and nothing else."""
        for number, (key, value) in enumerate(STRANGE):
            self.inject(bus, self.queues[0], key, value)
            harness.send(f"k{number}", bytes([number]))
        self.inject(bus, self.queues[0], *STRANGE[0])
        taken = [harness.take() for _ in STRANGE]
        assert sorted((d.key, d.value, d.crashes) for d in taken) == [
            (harness.key(f"k{n}"), bytes([n]), 0) for n in range(len(STRANGE))
        ]
        assert harness.nothing()
        for delivery in taken:
            harness.worker("w1").acknowledge(delivery, "w1")
        assert bus.backlog(self.queues[0]) == 0

    def test_what_is_passed_over_is_counted(self, harness: BusHarness, bus: Bus) -> None:
        """The process that read it knows that there was something, if the bus can hold it."""
        before = UNREADABLE.count
        self.inject(bus, self.logs[0], NO_TEXT, b"x")
        harness.publish("a", b"1")
        found = everything(harness.worker("reader"), (self.logs[0],))
        assert last(found) == [(self.logs[0], "a", b"1")]
        assert (UNREADABLE.count > before) == self.holds_any_bytes
