"""Room is that of the disk below a folder; a bucket has none, and says none."""

import shutil
from pathlib import Path

import pytest

from fibstream.runtime.room import LOOK_S, Room
from fibstream.telemetry.metrics import STORE_FREE, STORE_SIZE, Metric, Telemetry


class Kept(Telemetry):
    """Keeps every value that was set, in order."""

    def __init__(self) -> None:
        self.values: list[tuple[Metric, float]] = []

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        assert not labels
        self.values.append((metric, value))


def test_a_folder_has_the_size_and_the_room_of_its_disk_once_in_a_while(tmp_path: Path) -> None:
    kept = Kept()
    room = Room(tmp_path, kept)
    for _ in range(3):
        room.look()  # the second and the third within LOOK_S
    assert LOOK_S >= 5
    size, free = kept.values
    assert size == (STORE_SIZE, shutil.disk_usage(tmp_path).total)
    assert free[0] is STORE_FREE
    assert 0 < free[1] <= size[1]


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_what_has_no_disk_has_no_values(folder: Path | None) -> None:
    kept = Kept()
    Room(folder, kept).look()
    assert kept.values == []
