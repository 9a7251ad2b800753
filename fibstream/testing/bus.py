"""The contract suite of the port ``Bus``; how to use it: ``fibstream.testing``."""

from hypothesis.stateful import run_state_machine_as_test

from .harness import BusHarness, BusSuite, Connect, Promises
from .log_machine import LogMachine
from .logs import LogTests
from .queue_machine import QueueMachine
from .queues import QueueTests
from .strangers import StrangerTests

__all__ = ["BusHarness", "BusSuite", "BusTests", "Connect", "Promises"]


class BusTests(LogTests, QueueTests, StrangerTests):
    """Logs, queues, strangers, any schedule of both: what ``BusSuite`` describes is to be set."""

    def test_any_schedule_of_readers_keeps_the_promises(self, connect: Connect) -> None:
        """Several connections write and read logs in any order."""
        run_state_machine_as_test(lambda: LogMachine(self, connect), settings=self.machine)  # type: ignore[arg-type]

    def test_any_schedule_of_workers_keeps_the_promises(self, connect: Connect) -> None:
        """Several owners take, renew, acknowledge, discard, crash and leave in any order."""
        run_state_machine_as_test(lambda: QueueMachine(self, connect), settings=self.machine)  # type: ignore[arg-type]
