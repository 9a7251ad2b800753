"""A folder that fills up lands completely: real files, written in pieces, on a driven clock."""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fibstream.core.errors import LimitExceeded
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.edges.watch.ending import EndCondition
from fibstream.services.ingest.edges.watch.watcher import Watcher, WatchSettings

from .watching import (
    CHUNK,
    KINDS,
    LAYER,
    PLANE,
    VOLUME,
    MemoryPort,
    Microscope,
    StorePort,
    encoded,
    fill,
    stop,
    tif,
    watcher,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_is_already_full_lands_and_is_sealed(folder: Path, kind: str) -> None:
    port, scope = MemoryPort(), Microscope()
    fill(folder, range(10), kind)
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert port.extent == 10
    assert port.calls == {"info": 1, "land": 3 * LAYER, "seal": 1}
    assert scope.lines[-2:] == ["sealed at 10 slices", "slices 8 to 9 landed: chunks 9 written"]


@pytest.mark.parametrize("kind", KINDS)
def test_slices_written_in_pieces_land_only_when_the_last_byte_is_there(
    tmp_path: Path, folder: Path, kind: str
) -> None:
    suffix, port = KINDS[kind][0], MemoryPort()
    whole = [encoded(tmp_path, kind, plane) for plane in VOLUME]

    def events() -> Iterator[None]:
        for z, data in enumerate(whole):
            cuts = [0, 1, len(data) // 2, len(data) - 1, len(data)]
            for start, cut in pairwise(cuts):
                with (folder / f"s{z}{suffix}").open("ab") as file:
                    file.write(data[start:cut])
                # Longer than a file need be stable: only its content shows that it is not complete.
                yield from [None] * 4
                done = z + (cut == len(data))
                assert len(port.chunks) == done // CHUNK[0] * LAYER
                assert np.array_equal(port.volume(12)[: done // 4 * 4], VOLUME[: done // 4 * 4])

    scope = Microscope(events())
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert port.calls["land"] == 3 * LAYER


def test_the_landed_volume_is_the_source_byte_by_byte(tmp_path: Path, folder: Path) -> None:
    """With the real landing code and a real store; the writer is a thread, the clock is real."""
    port, scope = StorePort(tmp_path / "d.zarr"), Microscope()
    whole = [encoded(tmp_path, "deflated", plane) for plane in VOLUME]

    def write() -> None:
        for z in (2, 0, 1, 3, 5, 4, 9, 8, 7, 6):
            with (folder / f"s{z}.tif").open("wb", buffering=0) as file:
                for start in range(0, len(whole[z]), 97):
                    file.write(whole[z][start : start + 97])
        (folder / "finished").touch()

    thread = threading.Thread(target=write)
    thread.start()
    stopping = threading.Event()
    watching = Watcher(
        str(folder), "d", port,
        rules=Rules(stable_s=0.1, first=0), end=EndCondition(end_file="finished"),
        settings=WatchSettings(poll_s=0.02), clock=time.monotonic, pause=stopping.wait,
        report=scope.lines.append,
    )  # fmt: skip
    assert watching.run() == "done"
    thread.join()
    assert np.array_equal(port.volume(), VOLUME)
    again = StorePort(tmp_path / "d.zarr")
    again.seal("d", 10)
    assert watcher(folder, again, Microscope()).run() == "done"
    assert np.array_equal(again.volume(), VOLUME)


def test_what_is_no_slice_is_ignored_with_one_note(folder: Path) -> None:
    port, scope = MemoryPort(), Microscope()
    for name in ("Thumbs.db", ".hidden.tif", "s3.tif.part", "~s4.tif", "log.txt"):
        (folder / name).write_bytes(b"nothing")
    fill(folder, range(4))
    assert watcher(folder, port, scope, EndCondition(slices=4)).run() == "done"
    notes = [line for line in scope.lines if "no slices" in line]
    assert notes == [".hidden.tif, Thumbs.db, log.txt and 2 more: no slices (.tif, .tiff, .mrc)"]


def test_the_first_slices_are_reported_before_a_layer_is_complete(folder: Path) -> None:
    port, scope = MemoryPort(), Microscope([None] * 3 + [stop])
    fill(folder, range(2))
    assert watcher(folder, port, scope).run() == "stopped"
    assert "2 slices so far; 4 land together" in scope.text


def test_a_layer_beyond_the_memory_is_read_by_rows_of_chunks(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(10), "deflated")
    row_bytes = CHUNK[0] * CHUNK[1] * PLANE[1] * 2
    settings = WatchSettings(layer_bytes=2 * row_bytes)
    end = EndCondition(slices=10)
    assert watcher(folder, port, Microscope(), end, settings=settings).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    with pytest.raises(LimitExceeded, match="a row of chunks of 4 x 5 x 13 voxels takes 520 bytes"):
        settings = WatchSettings(layer_bytes=row_bytes - 1)
        watcher(folder, port, Microscope(), settings=settings).run()


def test_a_layer_that_is_declared_absent_reads_as_zero(folder: Path) -> None:
    port, expected = MemoryPort(), VOLUME.copy()
    expected[4:8] = 0
    fill(folder, [0, 1, 2, 3, 8, 9])
    absent = frozenset(range(12, 16))
    end = EndCondition(slices=10)
    assert watcher(folder, port, Microscope(), end, absent=absent).run() == "done"
    assert np.array_equal(port.volume(), expected)
    assert port.calls["absent"] == LAYER


def test_a_first_layer_that_is_absent_does_not_hold_up_a_short_last_one(folder: Path) -> None:
    port, expected = MemoryPort(), VOLUME[:7].copy()
    expected[:4] = 0
    for number in (0, 1, 3, 4, 5, 6):  # counted from 0: no smaller number can come
        tif(folder / f"slice_{number}.tif", VOLUME[number])
    absent = frozenset(range(4))
    end = EndCondition(slices=7)
    assert watcher(folder, port, Microscope(), end, absent=absent).run() == "done"
    assert np.array_equal(port.volume(), expected)


def test_where_a_smaller_number_may_come_the_first_has_to_be_given(folder: Path) -> None:
    scope = Microscope([None] * 8 + [stop])
    fill(folder, [0, 1, 3, 4, 5, 6])  # counted from 8
    absent = frozenset(range(8, 12))
    watching = watcher(folder, MemoryPort(), scope, EndCondition(slices=7), absent=absent)
    assert watching.run() == "stopped"
    assert "give --first 8 if none will" in scope.text


def test_ten_thousand_slices_are_polled_in_under_a_second(folder: Path) -> None:
    """Names alone: opening is left to layers that wait."""
    whole = encoded(folder.parent, "plain", VOLUME[0])
    (folder / "s0.tif").write_bytes(whole)
    for n in range(1, 10_000):
        (folder / f"s{n}.tif").hardlink_to(folder / "s0.tif")
    port = MemoryPort()
    landed = [(z, y, x) for z in range(2500) for y in range(3) for x in range(3)]
    port.chunks = dict.fromkeys(landed, np.zeros(0, np.uint16))  # no chunk is looked at
    scope = Microscope([None] * 4 + [stop])
    watching = watcher(folder, port, scope)
    assert watching.run() == "stopped"
    begun = time.process_time()
    watching._turn()
    assert time.process_time() - begun < 1
    assert port.calls["land"] == 0


@pytest.mark.parametrize("declared", [None, 7.0, 9.0, "mask"])
def test_an_area_of_one_value_that_nobody_declared_is_told_once(
    folder: Path, declared: float | str | None
) -> None:
    planes = VOLUME[:10].copy()
    planes[2, :9, :8] = planes[5:, -8:, -8:] = 7
    for z, plane in enumerate(planes):
        tif(folder / f"s{z}.tif", plane)
    port, scope = MemoryPort(), Microscope()
    port.absent_mask = declared == "mask"
    port.absent_value = None if isinstance(declared, str) else declared
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    told = [line for line in scope.lines if "areas of the one value 7" in line]
    assert len(told) == (declared in (None, 9.0))
    for line in told:
        assert line.startswith("slices 0 to 3: up to 46.2% of a slice")
        assert "create the dataset with --absent-value 7, or" in line


def test_what_has_to_land_beside_raw_is_told_once(folder: Path) -> None:
    port, scope = MemoryPort(), Microscope()
    port.absent_mask, port.predictions = True, {"er": 50.0}
    fill(folder, range(10))
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    waits = "what reads the absent mask, prediction er waits for fibstream land"
    assert scope.text.count(waits) == 1
