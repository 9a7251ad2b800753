"""Slices that change after they landed land again, and a watcher that is restarted continues."""

from pathlib import Path

import numpy as np

from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.edges.watch.ending import EndCondition
from fibstream.services.ingest.edges.watch.growing import ExpectedVolume
from fibstream.services.ingest.edges.watch.slice_folder import SliceFolder
from fibstream.services.ingest.edges.watch.watcher import WatchSettings

from .watching import (
    CHUNK,
    LAYER,
    PLANE,
    SIZE,
    VOLUME,
    InterruptedPort,
    MemoryPort,
    Microscope,
    fill,
    stop,
    watcher,
)


def test_a_slice_acquired_again_lands_again_while_the_watcher_runs(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(8))
    second = VOLUME.copy()
    second[1] += 1

    def acquire_again() -> None:
        assert len(port.chunks) == 2 * LAYER
        fill(folder, [1], volume=second)

    scope = Microscope([None] * 6 + [acquire_again] + [None] * 6 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert np.array_equal(port.volume(8), second[:8])
    assert port.calls["land"] == 3 * LAYER


def test_a_restarted_watcher_continues_and_sends_nothing_twice(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(6))
    scope = Microscope([None] * 6 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert len(port.chunks) == LAYER
    assert port.extent is None
    del port.chunks[0, 1, 1]  # as if it had been stopped in the middle of the layer
    assert watcher(folder, port, Microscope([None] * 6 + [stop]), first=8).run() == "stopped"
    assert port.calls["land"] == 2 * LAYER
    fill(folder, range(6, 10))
    assert watcher(folder, port, Microscope(), EndCondition(slices=10), first=8).run() == "done"
    assert port.calls["land"] == 4 * LAYER
    assert np.array_equal(port.volume(), VOLUME)
    assert watcher(folder, port, Microscope(), first=8).run() == "done"
    assert port.calls["land"] == 4 * LAYER


def test_what_changed_while_nobody_watched_lands_with_again(folder: Path) -> None:
    port = MemoryPort(extent_z=8)
    fill(folder, range(8))
    assert watcher(folder, port, Microscope()).run() == "done"
    second = VOLUME.copy()
    second[5] += 1
    fill(folder, [5], volume=second)
    assert watcher(folder, port, Microscope(), first=8).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:8])
    settings = WatchSettings(again=True)
    assert watcher(folder, port, scope := Microscope(), first=8, settings=settings).run() == "done"
    assert np.array_equal(port.volume(), second[:8])
    assert "slices 0 to 3 landed: chunks 9 unchanged" in scope.text


def test_a_slice_that_changes_while_its_layer_lands_lands_again(folder: Path) -> None:
    """Rows of chunks are read one after the other: the second row sees another file."""
    port, second = InterruptedPort(), VOLUME.copy()
    second[2] += 1
    fill(folder, range(4))
    port.event = lambda: fill(folder, [2], volume=second)
    settings = WatchSettings(layer_bytes=CHUNK[0] * CHUNK[1] * PLANE[1] * 2)
    end = EndCondition(slices=4)
    assert watcher(folder, port, Microscope(), end, settings=settings).run() == "done"
    assert np.array_equal(port.volume(), second[:4])


EXPECTED = ExpectedVolume(PLANE, np.dtype(np.uint16), SIZE, CHUNK[0], None, frozenset())


def test_a_layer_whose_slices_changed_since_the_poll_is_not_read(folder: Path) -> None:
    fill(folder, range(4))
    growing = SliceFolder(folder, Rules(), EXPECTED)
    for now_s in (0.0, 5.0):
        growing.poll(now_s)
    (layer,) = growing.ready(None)
    rows = slice(5, 12)
    found = growing.read(layer, rows)
    assert found is not None and np.array_equal(found, VOLUME[:4, rows])
    fill(folder, [2], volume=VOLUME + 1)
    assert growing.read(layer, rows) is None
    assert growing.ready(None) == []
    (folder / "slice_9.tif").unlink()
    assert growing.read(layer, rows) is None
