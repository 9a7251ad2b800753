"""What the port ``Bus`` promises of logs."""

from fibstream.core.ports import Bus

from .harness import BusHarness, BusSuite, everything, last, promised


class LogTests(BusSuite):
    """A log has at least the last record of every key, in order, from any offset."""

    def test_a_log_is_read_in_order_from_any_offset(self, harness: BusHarness, bus: Bus) -> None:
        """Offsets grow, and reading after one of them goes on behind it."""
        log = self.logs[0]
        for n in range(4):
            harness.publish(f"k{n}", bytes([n]))
        entries = bus.read([log], 0)
        assert [e.value for e in entries] == [b"\0", b"\1", b"\2", b"\3"]
        offsets = [e.offset for e in entries]
        assert offsets == sorted(set(offsets))
        assert bus.read([log], offsets[1]) == entries[2:]
        assert bus.read([log], offsets[-1]) == []
        assert bus.end([log]) == offsets[-1]
        assert bus.read([log], 0) == entries

    def test_a_log_has_what_was_written_before_the_read(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """A record is there as soon as ``publish`` returns."""
        log, offset = self.logs[0], 0
        for n in range(5):
            harness.publish(f"k{n}", bytes([n]))
            (entry,) = bus.read([log], offset)
            assert entry == (bus.end([log]), log, harness.key(f"k{n}"), bytes([n]))
            offset = entry.offset

    def test_several_logs_are_read_as_one(self, harness: BusHarness, bus: Bus) -> None:
        """Their entries have one order of offsets, and others are left out."""
        a, b, c = self.logs
        for n, log in enumerate((0, 1, 2, 0)):
            harness.publish(f"k{n}", b"", log)
        entries = bus.read([a, c], 0)
        assert sorted(e.topic for e in entries) == sorted([a, a, c])
        assert [e.key for e in entries if e.topic == a] == [harness.key("k0"), harness.key("k3")]
        offsets = [e.offset for e in entries]
        assert offsets == sorted(set(offsets))
        assert bus.end([c, a]) == offsets[-1]
        assert bus.end([b]) <= bus.end([a, b, c])

    def test_reading_goes_on_where_it_was(self, harness: BusHarness, bus: Bus) -> None:
        """Page by page every entry comes once, and the last offset is the end."""
        logs = self.logs[:2]
        for n in range(7):
            harness.publish(f"k{n}", b"", n % 2)
        seen = everything(bus, logs, limit=2)
        assert len({e.key for e in seen}) == len(seen) == 7
        assert seen[-1].offset == bus.end(logs)

    def test_reading_may_begin_at_the_end(self, harness: BusHarness, bus: Bus) -> None:
        """Only what is written afterwards is returned."""
        logs = self.logs[:2]
        harness.publish("a", b"1")
        harness.publish("b", b"2", 1)
        end = bus.end(logs)
        harness.publish("c", b"3")
        assert last(everything(bus, logs, end)) == [(logs[0], "c", b"3")]

    def test_an_empty_log_ends_at_0(self, bus: Bus) -> None:
        """Nothing is there, and no logs have no entries."""
        assert bus.read([self.logs[1]], 0) == []
        assert bus.end([self.logs[1]]) == 0
        assert bus.read([], 0) == []
        assert bus.end([]) == 0

    def test_a_limit_takes_the_oldest(self, harness: BusHarness, bus: Bus) -> None:
        """The newer ones come with the next read."""
        for n in range(5):
            harness.publish(str(n))
        found = bus.read([self.logs[0]], 0, limit=2)
        assert [e.key for e in found] == [harness.key("0"), harness.key("1")]

    def test_a_log_has_at_least_the_last_record_of_every_key(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """Keys of two logs have nothing to do with each other."""
        t, u, _ = self.logs
        harness.publish("a", b"1")
        harness.publish("b", b"2")
        before = bus.end([t])
        harness.publish("a", b"3")
        harness.publish("a", b"4", 1)
        assert last(everything(bus, (t,))) == [(t, "b", b"2"), (t, "a", b"3")]
        assert last(everything(bus, (t,), before)) == [(t, "a", b"3")]
        assert last(everything(bus, (u,))) == [(u, "a", b"4")]

    def test_another_connection_sees_the_same_and_ends_alike(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """All who read to the end have the same records and the same offset."""
        logs = self.logs[:2]
        for n in range(6):
            harness.publish(f"k{n % 4}", bytes([n]), n % 2)
        other = harness.worker("reader")
        assert sorted(last(everything(other, logs))) == sorted(last(everything(bus, logs)))
        assert other.end(logs) == bus.end(logs)

    def test_a_wait_ends_when_another_connection_wrote(self, harness: BusHarness) -> None:
        """A reader of a log is woken by the next record, once for each wait."""
        log, reader, offset = self.logs[0], harness.worker("reader"), 0
        reader.read([log], 0)
        reader.wait(0)
        for n in range(3):
            harness.publish(f"k{n}")
            assert reader.wait(60)
            (entry,) = reader.read([log], offset)
            offset = entry.offset

    @promised("waits")
    def test_a_wait_for_nothing_ends_with_false(self, harness: BusHarness) -> None:
        """What was written and read is not reported for ever."""
        reader = harness.worker("reader")
        harness.publish("a")
        assert reader.read([self.logs[0]], 0)
        assert not all(reader.wait(0.01) for _ in range(100))

    @promised("durable")
    def test_a_log_outlives_all_connections(self, harness: BusHarness, bus: Bus) -> None:
        """Opened again it has the same records, and its offsets go on."""
        harness.publish("a", b"1")
        harness.publish("b", b"2")
        entries = bus.read([self.logs[0]], 0)
        harness.reopen()
        assert harness.bus.read([self.logs[0]], 0) == entries
        harness.publish("a", b"3")
        assert harness.bus.end([self.logs[0]]) > entries[-1].offset
