"""When the watcher ends: by a file, a pause or a number, and only with all slices."""

from pathlib import Path

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.services.ingest.edges.watch.ending import EndCondition

from .watching import (
    CHUNK,
    LAYER,
    VOLUME,
    InterruptedPort,
    MemoryPort,
    Microscope,
    encoded,
    fill,
    stop,
    tif,
    watcher,
)


def test_an_end_file_ends_it_once_all_slices_are_complete(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(9))
    whole = encoded(folder.parent, "plain", VOLUME[9])

    def finish() -> None:
        assert port.extent is None
        (folder / "done.txt").touch()
        (folder / "slice_17.tif").write_bytes(whole[:20])  # the share shows them out of order

    def complete() -> None:
        assert port.extent is None
        (folder / "slice_17.tif").write_bytes(whole)

    scope = Microscope([None] * 5 + [finish] + [None] * 10 + [complete])
    assert watcher(folder, port, scope, EndCondition(end_file="done.txt")).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_a_long_pause_ends_it_but_not_before_the_first_slice(folder: Path) -> None:
    port = MemoryPort()
    events = [None] * 50 + [lambda: fill(folder, range(5))] + [None] * 15
    scope = Microscope([*events, lambda: fill(folder, range(5, 10))])
    assert watcher(folder, port, scope, EndCondition(idle_s=20)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert 50 + 16 + 20 <= scope.now <= 50 + 16 + 20 + 3


def test_without_an_end_it_watches_on_and_a_stop_does_not_seal(folder: Path) -> None:
    port, scope = MemoryPort(), Microscope([None] * 200 + [stop])
    fill(folder, range(8))
    assert watcher(folder, port, scope).run() == "stopped"
    assert len(port.chunks) == 2 * LAYER
    assert port.extent is None


def test_it_stops_between_two_chunks(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(4))
    scope = Microscope()
    watching = watcher(folder, port, scope)
    watching._pause = lambda wait_s: scope.pause(wait_s) or len(port.chunks) == 2
    assert watching.run() == "stopped"
    assert len(port.chunks) == 2


def test_an_end_with_something_missing_is_not_sealed(folder: Path) -> None:
    port, scope = MemoryPort(), Microscope()
    fill(folder, [0, 1, 2, 3, 5, 6])
    (folder / "end").touch()
    watching = watcher(folder, port, scope, EndCondition(end_file="end"))
    assert watching.run() == "incomplete"
    assert port.extent is None
    assert len(port.chunks) == LAYER
    assert "slice 12 is missing" in scope.text
    assert "not sealed: 7 slices were expected, 7 came with those that are missing" in scope.text
    assert "the end is there, what is missing has" in scope.text
    assert not any("no slices" in line for line in scope.lines)  # the end file is none of them


def test_fewer_slices_than_given_are_not_sealed(folder: Path) -> None:
    port, scope = MemoryPort(), Microscope()
    fill(folder, range(8))
    assert watcher(folder, port, scope, EndCondition(slices=10, idle_s=20)).run() == "incomplete"
    assert "not sealed: 10 slices were expected, 8 came" in scope.text
    assert len(port.chunks) == 2 * LAYER


def test_with_an_end_file_the_number_of_slices_alone_does_not_end_it(folder: Path) -> None:
    port, second = MemoryPort(), VOLUME.copy()
    second[1] += 1
    fill(folder, range(6))

    def acquire_again() -> None:
        assert port.extent is None
        fill(folder, [1], volume=second)
        (folder / "end").touch()

    scope = Microscope([None] * 20 + [acquire_again])
    assert watcher(folder, port, scope, EndCondition(slices=6, end_file="end")).run() == "done"
    assert np.array_equal(port.volume(), second[:6])


def test_what_changed_just_before_the_end_is_not_lost(folder: Path) -> None:
    """So many stable files are examined in turn, but before the end all of them are."""
    count, port, second = 1200, InterruptedPort(), VOLUME[:1] + 1
    tif(folder / "s0.tif", VOLUME[0])
    for n in range(1, count):
        (folder / f"s{n}.tif").hardlink_to(folder / "s0.tif")
    first = [(z, y, x) for z in range(count // 4 - 1) for y in range(3) for x in range(3)]
    port.chunks = {index: np.zeros(CHUNK, np.uint16)[:, : 12 - 5 * index[1], : 13 - 6 * index[2]]
                   for index in first}  # fmt: skip

    def change() -> None:
        (folder / "s999.tif").unlink()  # the last in the order of letters
        tif(folder / "s999.tif", second[0])

    port.event = change
    assert watcher(folder, port, Microscope(), EndCondition(slices=count)).run() == "done"
    landed = port.volume()
    assert np.array_equal(landed[996:1000], [VOLUME[0], VOLUME[0], VOLUME[0], second[0]])
    assert port.calls["land"] == 2 * LAYER


def test_more_slices_than_given_are_left_out(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(10))
    assert watcher(folder, port, Microscope(), EndCondition(slices=6)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:6])


def test_a_number_of_slices_that_contradicts_the_seal_is_refused(folder: Path) -> None:
    with pytest.raises(WrongUse, match="--slices 9: d is sealed at 10"):
        watcher(folder, MemoryPort(extent_z=10), Microscope(), EndCondition(slices=9)).run()
