"""What the port ``Bus`` promises of queues, whose tasks are leased."""

from fibstream.core.ports import Bus

from .harness import LEASE_S, BusHarness, BusSuite, promised


class QueueTests(BusSuite):
    """A queue delivers at least the newest task of every key, to one owner at a time."""

    def test_every_task_is_taken_once(self, harness: BusHarness) -> None:
        """Each is another delivery, of its own queue."""
        for n in range(3):
            harness.send(f"k{n}", bytes([n]))
        harness.send("k", b"other", queue=1)
        taken = [harness.take() for _ in range(3)]
        assert sorted((d.key, d.value, d.crashes) for d in taken) == [
            (harness.key(f"k{n}"), bytes([n]), 0) for n in range(3)
        ]
        assert len({d.id for d in taken}) == 3
        assert harness.nothing()
        assert harness.take(queue=1).value == b"other"

    def test_of_one_key_at_least_the_newest_task_comes_and_it_comes_last(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """Whatever came before of its key was older."""
        harness.send("a", b"old")
        harness.send("b", b"b")
        harness.send("a", b"new")
        values: list[bytes] = []
        while bus.backlog(self.queues[0]):
            assert len(values) < 3
            found = harness.take()
            values.append(found.value)
            harness.worker("w1").acknowledge(found, "w1")
        assert set(values) - {b"old"} == {b"b", b"new"}
        assert [v for v in values if v != b"b"][-1] == b"new"
        assert len(values) == len(set(values))

    def test_a_task_that_is_held_is_not_replaced(self, harness: BusHarness, bus: Bus) -> None:
        """The newer one comes besides."""
        harness.send("a", b"old")
        held = harness.take()
        harness.send("a", b"new")
        assert 1 <= bus.backlog(self.queues[0]) <= 2
        harness.worker("w1").acknowledge(held, "w1")
        assert harness.take().value == b"new"

    def test_what_is_sent_again_and_again_is_counted_once(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """So that an autoscaler sees the work that is there, while nobody does it."""
        for _ in range(3):
            harness.send("a", b"same")
            harness.send("b", b"same")
        assert bus.backlog(self.queues[0]) == 2

    def test_the_same_key_on_two_queues_is_two_tasks(self, harness: BusHarness) -> None:
        """Queues have nothing to do with each other."""
        harness.send("a", b"1")
        harness.send("a", b"2", queue=1)
        assert (harness.take().value, harness.take(queue=1).value) == (b"1", b"2")

    def test_a_task_is_nobody_elses_until_its_holder_is_lost(self, harness: BusHarness) -> None:
        """Then the same delivery comes, without a crash: nobody saw one."""
        harness.send("a", b"x")
        first = harness.take("w1")
        assert harness.nothing("w2")
        assert harness.worker("w1").renew(first, "w1", LEASE_S)
        assert harness.nothing("w2")
        harness.lose("w1")
        again = harness.take("w2")
        assert again == first
        assert not harness.worker("w3").renew(first, "w1", LEASE_S)

    def test_a_renewed_lease_lasts_from_then_on(self, harness: BusHarness) -> None:
        """It does not end when the first one would have."""
        harness.send("a", b"x")
        held = harness.take("w1")
        harness.clock.now += 9
        assert harness.worker("w1").renew(held, "w1", LEASE_S)
        harness.clock.now += 9
        assert harness.nothing("w2")
        assert harness.worker("w1").renew(held, "w1", LEASE_S)

    def test_a_renewal_of_what_is_done_fails(self, harness: BusHarness) -> None:
        """So does one by another owner."""
        harness.send("a", b"x")
        held, bus = harness.take(), harness.worker("w1")
        assert not bus.renew(held, "another", LEASE_S)
        bus.acknowledge(held, "w1")
        assert not bus.renew(held, "w1", LEASE_S)

    def test_an_acknowledgement_by_a_former_owner_does_nothing(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """The task belongs to whoever took it since; acknowledged twice is acknowledged."""
        harness.send("a", b"x")
        held = harness.take("w1")
        harness.lose("w1")
        again = harness.take("w2")
        harness.worker("w1").acknowledge(held, "w1")
        assert bus.backlog(self.queues[0]) == 1
        harness.worker("w2").acknowledge(again, "w2")
        assert bus.backlog(self.queues[0]) == 0
        harness.worker("w2").acknowledge(again, "w2")

    @promised("timed")
    def test_a_lease_that_ran_out_is_still_its_owners_while_nobody_took_the_task(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """It can be renewed, and the task acknowledged."""
        harness.send("a", b"x")
        held = harness.take("w1")
        harness.clock.now += LEASE_S + 1
        assert harness.worker("w1").renew(held, "w1", LEASE_S)
        assert harness.nothing("w2")
        harness.clock.now += LEASE_S + 1
        harness.worker("w1").acknowledge(held, "w1")
        assert bus.backlog(self.queues[0]) == 0

    def test_the_tasks_of_a_dead_owner_are_free_and_carry_its_crash(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """Its tasks alone, and each crash is counted once."""
        for key in ("a", "b", "c"):
            harness.send(key)
        held = {d.key: d for d in (harness.take("w1"), harness.take("w1"))}
        harness.die("w1")
        released = bus.reclaim("w1")
        assert sorted((d.id, d.key, d.crashes) for d in released) == sorted(
            (d.id, d.key, 1) for d in held.values()
        )
        assert bus.reclaim("w1") == []
        crashes = {d.key: d.crashes for d in (harness.take("w3") for _ in range(3))}
        assert crashes == {harness.key(k): int(harness.key(k) in held) for k in "abc"}
        assert sorted(d.crashes for d in bus.reclaim("w3")) == [1, 2, 2]

    @promised("timed")
    def test_a_crash_counts_though_the_lease_ran_out(self, harness: BusHarness, bus: Bus) -> None:
        """Whoever was the last to hold a task died with it; others did not."""
        for key in ("a", "b"):
            harness.send(key)
        first, _ = harness.take("w1"), harness.take("w2")
        harness.clock.now += LEASE_S + 1
        harness.die("w1")
        assert bus.reclaim("w1") == [first._replace(crashes=1)]
        assert sorted(harness.take("w3").crashes for _ in range(2)) == [0, 1]

    def test_a_crash_stays_with_the_same_task_and_not_with_another_of_its_key(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """A task that is sent again has the crashes of the equal one that waits."""
        harness.send("a", b"x")
        harness.take("w1")
        harness.die("w1")
        bus.reclaim("w1")
        harness.send("a", b"x")
        assert harness.take("w2").crashes == 1
        harness.die("w2")
        bus.reclaim("w2")
        harness.send("a", b"y")
        crashes = []
        while (found := harness.take("w3")).value == b"x":
            crashes.append(found.crashes)
            harness.worker("w3").acknowledge(found, "w3")
        # Replaced, or both: once the first is done, an equal one is new.
        assert crashes in ([], [2], [2, 0])
        assert (found.value, found.crashes) == (b"y", 0)

    @promised("replaces")
    @promised("timed")
    def test_of_two_free_tasks_of_one_key_the_most_crashes_are_kept(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """The one that replaces both counts as the one that crashed most."""
        harness.send("a", b"x")
        harness.take("w1")
        harness.die("w1")
        bus.reclaim("w1")
        harness.take("w2")
        harness.send("a", b"x")  # a second one, for the first is held
        harness.lose("w2")
        harness.send("a", b"x")
        assert bus.backlog(self.queues[0]) == 1
        assert harness.take("w3").crashes == 1

    @promised("replaces")
    def test_a_task_has_no_crash_of_an_equal_one_that_is_held(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """It replaces nothing."""
        harness.send("a", b"x")
        harness.take("w1")
        harness.die("w1")
        bus.reclaim("w1")
        assert harness.take("w2").crashes == 1
        harness.send("a", b"x")
        assert harness.take("w3").crashes == 0

    def test_a_discarded_task_is_gone_for_its_holder_and_the_next_one_is_new(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """Discarded twice is discarded."""
        harness.send("a", b"x")
        worker, held = harness.worker("w1"), harness.take("w1")
        worker.discard(held)
        worker.discard(held)
        assert not worker.renew(held, "w1", LEASE_S)
        assert bus.backlog(self.queues[0]) == 0
        harness.send("a", b"x")
        assert harness.take("w1").crashes == 0

    def test_a_task_that_was_discarded_by_another_never_comes_again(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """Whoever started a dead worker gives up its task."""
        harness.send("a", b"x")
        harness.take("w1")
        harness.die("w1")
        (released,) = bus.reclaim("w1")
        bus.discard(released)
        harness.send("b", b"y")
        assert harness.take("w2").key == harness.key("b")
        assert harness.nothing("w2")
        assert bus.backlog(self.queues[0]) == 1

    def test_a_backlog_counts_what_is_held_and_what_waits(
        self, harness: BusHarness, bus: Bus
    ) -> None:
        """Of one queue alone."""
        first, second = self.queues
        harness.send("a")
        harness.send("b")
        harness.send("a", queue=1)
        held = harness.take()
        assert (bus.backlog(first), bus.backlog(second)) == (2, 1)
        harness.worker("w1").acknowledge(held, "w1")
        assert bus.backlog(first) == 1

    def test_forgetting_drops_every_task_and_no_record(self, harness: BusHarness, bus: Bus) -> None:
        """Of all queues, also what was held."""
        harness.publish("a")
        harness.send("a")
        harness.send("b", queue=1)
        harness.take()
        harness.lose("w1")
        bus.forget()
        assert harness.nothing("w2")
        assert harness.nothing("w2", queue=1)
        assert [bus.backlog(queue) for queue in self.queues] == [0, 0]
        assert len(bus.read([self.logs[0]], 0)) == 1

    def test_a_wait_ends_when_a_task_was_sent(self, harness: BusHarness) -> None:
        """A worker that has looked for a task is woken by the next one."""
        assert harness.nothing()
        worker = harness.worker("w1")
        worker.wait(0)
        harness.send("a")
        assert worker.wait(60)
        assert harness.take().key == harness.key("a")

    @promised("durable")
    def test_tasks_outlive_all_connections(self, harness: BusHarness, bus: Bus) -> None:
        """What was acknowledged stays so."""
        harness.send("a", b"1")
        held = harness.take()
        harness.worker("w1").acknowledge(held, "w1")
        harness.send("b", b"2")
        assert bus.backlog(self.queues[0]) == 1
        harness.reopen()
        assert harness.bus.backlog(self.queues[0]) == 1
        assert harness.take().value == b"2"
        assert harness.nothing()
