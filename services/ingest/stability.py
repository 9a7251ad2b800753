"""Which files have stopped changing.

A folder is *polled*: its files are examined again and again.  A file is *stable* when two polls at
least ``stable_s`` apart found the same size and modification time.  Nothing here reads a clock or a
disk: the caller passes what it found and when, on any clock that only goes forward.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

EXAMINED_AGAIN = 256  # stable files in one poll: on a network share each is a round trip


class FileState(NamedTuple):
    """One file as one poll found it."""

    name: str
    size: int  # bytes
    mtime_ns: int


@dataclass(slots=True)
class _Trace:
    state: FileState
    since_s: float  # of the first poll that found this state
    stable: bool = False


class StableFiles:
    """Files that have not changed for ``stable_s``."""

    def __init__(self, stable_s: float) -> None:
        self._stable_s = stable_s
        self._traces: dict[str, _Trace] = {}
        self._next = 0  # where the stable files that are examined again begin
        self.changed_s: float | None = None  # the last poll that found something new

    def due(self, names: Sequence[str], *, thorough: bool = False) -> list[str]:
        """Return the files to examine: all that are not stable, and some others in turn, or all."""
        stable: list[str] = []
        changing: list[str] = []
        for name in names:
            trace = self._traces.get(name)
            (stable if trace is not None and trace.stable else changing).append(name)
        if len(stable) > EXAMINED_AGAIN and not thorough:
            start = self._next % len(stable)
            self._next = start + EXAMINED_AGAIN
            stable = (stable + stable[:EXAMINED_AGAIN])[start : start + EXAMINED_AGAIN]
        return changing + stable

    def update(
        self, now_s: float, files: Iterable[FileState], gone: Iterable[str] = ()
    ) -> list[FileState]:
        """Record what one poll found; return the files that became stable by it."""
        for name in gone:
            self._traces.pop(name, None)
        stable = []
        for file in files:
            trace = self._traces.get(file.name)
            if trace is None or trace.state != file:
                self._traces[file.name] = _Trace(file, now_s)
                self.changed_s = now_s
            elif not trace.stable and now_s - trace.since_s >= self._stable_s:
                trace.stable = True
                stable.append(file)
        return stable

    def get(self, name: str) -> FileState | None:
        """Return the state of a stable file, or None."""
        trace = self._traces.get(name)
        return trace.state if trace is not None and trace.stable else None

    def since_s(self, name: str) -> float | None:
        """Return when a file was first found in its present state."""
        trace = self._traces.get(name)
        return None if trace is None else trace.since_s

    def all_stable(self, names: Iterable[str]) -> bool:
        """Whether none of these files is changing; one that is gone is not."""
        traces = (self._traces.get(name) for name in names)
        return all(trace is None or trace.stable for trace in traces)

    def invalidate(self, name: str) -> None:
        """Forget the state of a file that changed since: it has to become stable again."""
        self._traces.pop(name, None)
