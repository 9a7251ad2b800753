"""Any schedule of writers and readers on the logs of a bus, each answer held against a model."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from fibstream.core.ports import Bus

from .harness import BusHarness, BusSuite, Connect
from .log_model import LogModel, Position

READERS = st.sampled_from(["planner", "reader"])
LOGS = st.integers(0, 1)
VIEWS = st.sampled_from([(0,), (0, 1)])
KEYS = st.sampled_from(["a", "b", "c"])
LIMITS = st.sampled_from([1, 2, 1000])
PICKS = st.integers(0, 5)  # of what there is, the newest first
WAIT_S = 60.0  # a wait that must end earlier


class LogMachine(RuleBasedStateMachine):
    """Two connections that write and read; what they must see is in ``log_model``."""

    def __init__(self, suite: BusSuite, connect: Connect) -> None:
        super().__init__()
        self._suite, self._promises = suite, suite.promises
        self._harness = BusHarness(suite, connect)
        self._log = LogModel(suite.promises)
        # The offsets that each connection was given for each set of logs, and where they lie.
        self._offsets: dict[tuple[str, tuple[int, ...]], dict[int, Position]] = {}
        self._unseen: set[str] = set()  # readers whose logs somebody else wrote since

    def _bus(self, name: str) -> Bus:
        return self._harness.bus if name == "planner" else self._harness.worker(name)

    @rule(by=READERS, log=LOGS, key=KEYS)
    def publish(self, by: str, log: int, key: str) -> None:
        """Write a record."""
        topic, key = self._suite.logs[log], self._harness.key(key)
        self._bus(by).publish(topic, key, self._log.publish(topic, key))
        self._unseen |= {r for r, view in self._offsets if r != by and log in view}

    @rule(by=READERS, view=VIEWS, pick=PICKS, limit=LIMITS, on=st.booleans())
    def read(self, by: str, view: tuple[int, ...], pick: int, limit: int, on: bool) -> None:
        """Read once from an offset that is known, or on to the end."""
        topics = tuple(self._suite.logs[log] for log in view)
        known = self._offsets.setdefault((by, view), {0: {}})
        choice = list(known) if self._rereads(view) else [0, [*known][-1]]
        after = choice[-1 - pick % len(choice)]
        while True:
            entries = self._bus(by).read(topics, after, limit)
            offsets = [after, *(entry.offset for entry in entries)]
            assert offsets == sorted(set(offsets))
            assert len(entries) <= limit
            passed = self._log.read(topics, known[after], entries)
            for offset, position in zip(offsets[1:], passed, strict=True):
                known.pop(offset, None)  # the last one read is the last one known
                known[offset] = position
            after = offsets[-1]
            if not on or not entries:
                break
        self._unseen.discard(by)
        if on:
            assert after == self._bus(by).end(topics)

    def _rereads(self, view: tuple[int, ...]) -> bool:
        return self._promises.rereads or len(view) == 1

    @rule(by=READERS, view=VIEWS)
    def end(self, by: str, view: tuple[int, ...]) -> None:
        """Look where logs end."""
        topics = tuple(self._suite.logs[log] for log in view)
        end = self._bus(by).end(topics)
        assert (end == 0) == self._log.empty(topics)
        known = self._offsets.setdefault((by, view), {0: {}})
        assert end == max(end, *known)
        known.pop(end, None)
        known[end] = self._log.end(topics) if end else {}

    @rule(by=READERS)
    def wait(self, by: str) -> None:
        """Wait for what was written, if it was."""
        if by in self._unseen:
            assert self._bus(by).wait(WAIT_S)
            self._unseen.discard(by)

    def teardown(self) -> None:
        """Read all of it, from the beginning too, and close."""
        try:
            for reader in ("planner", "last"):
                self.read(reader, (0, 1), 0, 1000, True)
        finally:
            self._harness.close()
