"""A simulated folder of slices, polled as the watcher does; its clock is driven by the test."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from fibstream.services.ingest.arrivals import Rules, Slices
from fibstream.services.ingest.layers import Layer
from fibstream.services.ingest.stability import FileState

STABLE_S, GIVEUP_S, DEPTH = 2.0, 60.0, 3
FULL = 3  # pieces in which a complete file is written


@dataclass
class SimulatedFolder:
    """Files as the state machine sees them; one of ``FULL`` pieces is complete."""

    slices: Slices
    files: dict[str, FileState] = field(default_factory=dict)
    now: float = 0.0
    extent: int | None = None
    landed: list[int] = field(default_factory=list)
    content: dict[int, str] = field(default_factory=dict)

    def write(self, name: str, size: int | None = None) -> None:
        """Append a piece to a file that is not complete, or write one of ``size`` pieces."""
        before = self.files.get(name, FileState(name, 0, 0)).size
        if size is None and before == FULL:
            return
        size = before + 1 if size is None else size
        self.files[name] = FileState(name, size, int(self.now * 1e9) + 1)

    def poll(self, wait_s: float = 0.0) -> None:
        """Wait, examine the files that are due, check them and land the layers that are ready."""
        self.now += wait_s
        names = sorted(self.files)
        due = self.slices.due(names)
        self.slices.update(self.now, names, [self.files[name] for name in due])
        for file in self.slices.unchecked():
            assert file == self.files[file.name]
            fault = "" if file.size == FULL else f"{file.name} is cut short"
            self.slices.checks.record(file, fault)
        for layer in self.slices.ready(self.extent):
            self.land(layer)

    def land(self, layer: Layer) -> None:
        """Land a layer; its files have to be complete and stable."""
        self.slices.begin(layer)
        for z, file in enumerate(layer.files, layer.start):
            assert file.size == FULL
            assert file == self.files[file.name]
            assert self.now * 1e9 - file.mtime_ns >= STABLE_S * 1e9 - 1
            self.content[z] = file.name
        assert layer.absent or len(layer.files) == layer.stop - layer.start
        self.landed.append(layer.index)
        self.slices.landed.add(layer)

    def settle(self) -> None:
        """Poll until nothing can change any more."""
        for _ in range(3):
            self.poll(STABLE_S)

    def fill(self, names: Iterable[str]) -> None:
        """Write complete files."""
        for name in names:
            self.write(name, FULL)

    def lines(self, *, ended: bool = False) -> str:
        """Return the reported problems."""
        return " | ".join(self.slices.problems(self.now, ended=ended).values())


def simulated(
    *, landed: Collection[int] = (), extent: int | None = None, again: bool = False, **rules: Any
) -> SimulatedFolder:
    """Return an empty folder."""
    given = Rules(**{"stable_s": STABLE_S, "giveup_s": GIVEUP_S, "first": None, **rules})
    return SimulatedFolder(Slices(given, DEPTH, landed, extent, again=again), extent=extent)


def numbered(numbers: Iterable[int]) -> list[str]:
    """Return names of slices."""
    return [f"s{n}.tif" for n in numbers]
