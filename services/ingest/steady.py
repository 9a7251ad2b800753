"""Which arriving files have stopped changing, and which layers they made have landed.

A *look* is one reading of a folder.  A file is *steady* when looks at least ``stable_s`` apart saw
the same size and time of change.  A *layer* is all chunks of one index in z, its *pieces* the files
that hold it.  Nothing here reads a clock or a disk: the watcher says what it saw and when, on any
clock that only goes forward.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LOOK_AGAIN = 256  # steady files looked at anew in one look: on a network share each is a round trip


class Seen(NamedTuple):
    """One file as one look saw it."""

    name: str
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Layer:
    """Planes ``[start, stop)`` of the volume, which make all chunks of one index in z."""

    index: int
    start: int
    stop: int
    pieces: tuple[Seen, ...]  # the files that hold it; of slices: one for each z
    absent: bool = False


@dataclass(slots=True)
class _Trace:
    seen: Seen
    since_s: float  # of the first look that saw it like this
    steady: bool = False


class Steady:
    """Files that have stopped changing for ``stable_s``."""

    def __init__(self, stable_s: float) -> None:
        self._stable_s = stable_s
        self._traces: dict[str, _Trace] = {}
        self._turn = 0
        self.changed_s: float | None = None  # the last look that saw something new

    def due(self, names: Sequence[str], *, thorough: bool = False) -> list[str]:
        """Return which files to look at: the restless, and of the others a few in turn, or all."""
        quiet: list[str] = []
        restless: list[str] = []
        for name in names:
            trace = self._traces.get(name)
            (quiet if trace is not None and trace.steady else restless).append(name)
        if len(quiet) > LOOK_AGAIN and not thorough:
            start = self._turn % len(quiet)
            self._turn = start + LOOK_AGAIN
            quiet = (quiet + quiet[:LOOK_AGAIN])[start : start + LOOK_AGAIN]
        return restless + quiet

    def look(self, now_s: float, seen: Iterable[Seen], gone: Iterable[str] = ()) -> list[Seen]:
        """Take in one look; return the files that it made steady."""
        for name in gone:
            self._traces.pop(name, None)
        risen = []
        for item in seen:
            trace = self._traces.get(item.name)
            if trace is None or trace.seen != item:
                self._traces[item.name] = _Trace(item, now_s)
                self.changed_s = now_s
            elif not trace.steady and now_s - trace.since_s >= self._stable_s:
                trace.steady = True
                risen.append(item)
        return risen

    def get(self, name: str) -> Seen | None:
        """Return a steady file as it is, or None."""
        trace = self._traces.get(name)
        return trace.seen if trace is not None and trace.steady else None

    def since_s(self, name: str) -> float | None:
        """Return when a file was first seen as it is."""
        trace = self._traces.get(name)
        return None if trace is None else trace.since_s

    def calm(self, names: Iterable[str]) -> bool:
        """Whether none of these files is changing; one that is gone does not."""
        traces = (self._traces.get(name) for name in names)
        return all(trace is None or trace.steady for trace in traces)

    def invalidate(self, name: str) -> None:
        """A file is not what the last look saw: it has to become steady again."""
        self._traces.pop(name, None)


class Landed:
    """Layers that are in the store, and the files they were made of.

    Layers of ``before`` landed in an earlier run. What their files were then is not known, so they
    are taken for what this run finds first.
    """

    def __init__(self, before: Collection[int] = ()) -> None:
        self._layers = set(before)
        self._ever = set(before)
        self._content: dict[tuple[int, str], Seen] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._layers

    def ever(self, index: int) -> bool:
        """Whether a layer has landed at some time, though it may have to land again."""
        return index in self._ever

    @property
    def top(self) -> int:
        """One more than the largest layer that has landed."""
        return max(self._layers, default=-1) + 1

    def add(self, layer: Layer) -> None:
        """A layer is in the store."""
        self._layers.add(layer.index)
        self._ever.add(layer.index)
        self._content |= {(layer.index, piece.name): piece for piece in layer.pieces}

    def forget(self, layer: Layer) -> None:
        """What a layer was made of need not be remembered: it stays as it landed."""
        for piece in layer.pieces:
            self._content.pop((layer.index, piece.name), None)

    def hold(self, piece: Seen, index: int) -> None:
        """A piece of a layer is steady: where it is not what landed, the layer lands again."""
        if index in self and self._content.setdefault((index, piece.name), piece) != piece:
            self._layers.discard(index)
