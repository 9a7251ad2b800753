"""When the watcher ends: the conditions that a user gives, and whether they hold."""

from dataclasses import dataclass
from pathlib import Path

from fibstream.core.errors import WrongUse
from fibstream.services.ingest.stability import StableFiles

from .growing import GrowingVolume, file_state


@dataclass(frozen=True)
class EndCondition:
    """The conditions that end an acquisition; without any of these the watcher never ends.

    The number of slices alone ends it as soon as that many have landed; together with another
    condition it states how many have to be there when that holds.
    """

    slices: int | None = None
    end_file: str | None = None  # a file of this name is in the folder
    idle_s: float | None = None  # nothing new came for so long

    def __post_init__(self) -> None:
        if self.slices is not None and self.slices < 1:
            raise WrongUse(f"--slices {self.slices}: expected at least 1")

    @property
    def is_signalled(self) -> bool:
        """Whether a file or a pause ends the acquisition, and not the number alone."""
        return self.end_file is not None or self.idle_s is not None


class EndDetector:
    """Finds whether nothing more is going to come."""

    def __init__(
        self, condition: EndCondition, folder: Path, *, stable_s: float, now_s: float
    ) -> None:
        self._condition = condition
        self._folder = folder
        self._files = StableFiles(stable_s)
        self._begun_s = now_s

    def poll(self, now_s: float) -> None:
        """Look for the end file."""
        if (name := self._condition.end_file) is None:
            return
        try:
            self._files.update(now_s, [file_state(name, (self._folder / name).stat())])
        except FileNotFoundError:
            self._files.invalidate(name)

    def is_over(self, volume: GrowingVolume, now_s: float) -> bool:
        """Whether the end file is stable, or a volume that has begun was idle for long enough."""
        name, idle_s = self._condition.end_file, self._condition.idle_s
        if name is not None and self._files.get(name):
            return True
        since_s = self._begun_s if volume.changed_s is None else volume.changed_s
        return idle_s is not None and volume.count > 0 and now_s - since_s >= idle_s

    def extent_z(self, volume: GrowingVolume, now_s: float) -> int:
        """Return the extent at which the volume is to be sealed; 0 while that is not known."""
        signalled = self._condition.is_signalled
        if signalled and not self.is_over(volume, now_s):
            return 0
        return self._condition.slices or (volume.count if signalled else 0)
