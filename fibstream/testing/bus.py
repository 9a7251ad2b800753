"""The contract suite of the port ``Bus``; how to use it: ``fibstream.testing``."""

from hypothesis.stateful import run_state_machine_as_test

from .bus_machine import BusMachine
from .harness import BusHarness, BusSuite, Connect, Promises
from .logs import LogTests
from .queues import QueueTests

__all__ = ["BusHarness", "BusSuite", "BusTests", "Connect", "Promises"]


class BusTests(LogTests, QueueTests):
    """Logs, queues, and any schedule of both: what ``BusSuite`` describes is to be set."""

    def test_any_schedule_keeps_the_promises(self, connect: Connect) -> None:
        """Several owners and connections in any order, each answer held against a model."""
        run_state_machine_as_test(lambda: BusMachine(self, connect), settings=self.machine)  # type: ignore[arg-type]
