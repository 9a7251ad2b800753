"""A folder that fills up lands whole: real files, written in pieces, on a clock the test drives."""

import json
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import mrcfile
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr

from fibstream.bus.memory import MemoryBus
from fibstream.cli.watch import (
    asked_to_stop,
    make_ending,
    make_habits,
    make_rules,
    parse_numbers,
    watch_folder,
)
from fibstream.core.errors import LimitExceeded, Retryable, WrongUse
from fibstream.core.grid import Grid
from fibstream.core.stage import RAW, Input
from fibstream.runtime.loops import drive
from fibstream.runtime.site import Site
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.edges.landing import land
from fibstream.services.ingest.edges.watch.ending import EndCondition
from fibstream.services.ingest.edges.watch.growing import ExpectedVolume
from fibstream.services.ingest.edges.watch.slice_folder import SliceFolder
from fibstream.services.ingest.edges.watch.watcher import Watcher, WatchSettings
from fibstream.services.ingest.edges.watch.zarr_array import GrowingZarr
from fibstream.services.ingest.edges.watch.zarr_files import chunk_files
from fibstream.store.local import LocalFiles
from fibstream.store.store import Blob, Store

CHUNK = (4, 5, 6)
PLANE = (12, 13)  # short last chunks in y and x
VOLUME = np.random.default_rng(11).integers(1, 60_000, (10, *PLANE)).astype(np.uint16)
SIZE = (8.0, 8.0, 8.0)
LAYER = 9  # chunks in a layer


@dataclass(frozen=True)
class Info:
    shape: tuple
    chunk: tuple
    dtype: str
    voxel_size_nm: tuple
    landed: frozenset


class Memory:
    """A dataset in memory that keeps what ``fibstream.Client`` promises, and counts calls."""

    def __init__(self, dtype="uint16", extent_z=None):
        self.grid = Grid((extent_z, *PLANE), CHUNK)
        self.dtype = dtype
        self.chunks = {}
        self.calls = Counter()
        self.away = 0

    def _call(self, what):
        if self.away:
            self.away -= 1
            raise Retryable("the server is away")
        self.calls[what] += 1

    def info(self, dataset):
        self._call("info")
        return Info(self.grid.shape, CHUNK, self.dtype, SIZE, frozenset(self.chunks))

    def land(self, dataset, index, voxels, *, revision=None):
        self._call("land")
        assert voxels.dtype == self.dtype
        assert voxels.flags.c_contiguous
        assert voxels.shape == self.grid.box(index).shape, "a short chunk before the seal"
        if index in self.chunks and np.array_equal(self.chunks[index], voxels):
            return "unchanged"
        self.chunks[index] = voxels.copy()
        return "written"

    def absent(self, dataset, index, *, revision=None):
        self._call("absent")
        self.chunks[index] = np.zeros(self.grid.box(index).shape, self.dtype)
        return "written"

    def seal(self, dataset, extent_z=None):
        self._call("seal")
        assert self.grid.shape[0] is None
        self.grid = Grid((extent_z, *PLANE), CHUNK)
        return extent_z

    @property
    def extent(self):
        return self.grid.shape[0]

    def volume(self, depth=None):
        """Return what has landed, put together; what is not there is 0."""
        out = np.zeros((depth or self.extent, *PLANE), self.dtype)
        for index, voxels in self.chunks.items():
            out[self.grid.box(index).slices()] = voxels
        return out


class Local:
    """The dataset as the service keeps it: real landings, in a folder."""

    def __init__(self, root):
        self.root = root
        root.mkdir(exist_ok=True)
        self.site = Site("d", Store(LocalFiles(root), Grid((None, *PLANE), CHUNK)), MemoryBus())

    def info(self, dataset):
        landed = frozenset(self.site.store.chunks(RAW))
        return Info(self.site.store.grid.shape, CHUNK, "uint16", SIZE, landed)

    def land(self, dataset, index, voxels, *, revision=None):
        return drive(land(self.site, index, voxels, "uint16", revision))

    def absent(self, dataset, index, *, revision=None):
        return drive(land(self.site, index, None, "uint16", revision))

    def seal(self, dataset, extent_z=None):
        self.site.store.grid = Grid((extent_z, *PLANE), CHUNK)
        return extent_z

    def volume(self):
        store, out = self.site.store, np.zeros(VOLUME.shape, np.uint16)
        for index in store.grid.indices():
            item, box = Blob(RAW, index, "uint16"), store.grid.box(index)
            stamp = store.intact(item)
            patch = store.read(Input(RAW, RAW, "uint16"), box, {index: stamp.hash})
            out[box.slices()] = patch.array
        return out


class Microscope:
    """A clock: each pause lets it go on, and the next thing happens in the folder."""

    def __init__(self, events=(), limit=300):
        self.now = 0.0
        self.lines = []
        self.waits = []
        self._events = iter(events)
        self._limit = limit

    def pause(self, wait_s):
        if wait_s == 0:
            return False
        self.waits.append(wait_s)
        self.now += wait_s
        assert len(self.waits) < self._limit, self.lines
        event = next(self._events, None)
        return event() is True if event else False

    @property
    def text(self):
        return "\n".join(self.lines)


def watcher(folder, port, scope, ending=None, *, settings=None, **given):
    return Watcher(
        str(folder), "d", port, rules=Rules(**given), end=ending or EndCondition(),
        settings=settings or WatchSettings(), clock=lambda: scope.now, pause=scope.pause,
        report=scope.lines.append,
    )  # fmt: skip


def stop():
    return True


def tif(path, plane, **options):
    tifffile.imwrite(path, plane, **options)


def deflated(path, plane):
    tif(path, plane, compression="zlib", rowsperstrip=3)


def tiled(path, plane):
    tif(path, plane, compression="lzw", tile=(16, 16), byteorder=">")


def mrc(path, plane):
    with mrcfile.new(path, plane, overwrite=True) as file:
        file.voxel_size = (80, 80, 80)


KINDS = {
    "plain": (".tif", tif),
    "deflated": (".tiff", deflated),
    "tiled": (".TIF", tiled),
    "mrc": (".mrc", mrc),
}


def fill(folder, planes, kind="plain", volume=VOLUME):
    suffix, write = KINDS[kind]
    for z in planes:
        write(folder / f"slice_{z + 8}{suffix}", volume[z])  # 8, 9, 10: not the order of letters


def encoded(tmp_path, kind, plane):
    suffix, write = KINDS[kind]
    write(tmp_path / f"whole{suffix}", plane)
    return (tmp_path / f"whole{suffix}").read_bytes()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


# -- slices ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_is_already_full_lands_and_is_sealed(folder, kind):
    port, scope = Memory(), Microscope()
    fill(folder, range(10), kind)
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert port.extent == 10
    assert port.calls == {"info": 1, "land": 3 * LAYER, "seal": 1}
    assert scope.lines[-2:] == ["sealed at 10 slices", "slices 8 to 9 landed: chunks 9 written"]


@pytest.mark.parametrize("kind", KINDS)
def test_slices_written_in_pieces_land_only_when_the_last_byte_is_there(tmp_path, folder, kind):
    suffix, port = KINDS[kind][0], Memory()
    whole = [encoded(tmp_path, kind, plane) for plane in VOLUME]

    def events():
        for z, data in enumerate(whole):
            cuts = [0, 1, len(data) // 2, len(data) - 1, len(data)]
            for start, cut in pairwise(cuts):
                with (folder / f"s{z}{suffix}").open("ab") as file:
                    file.write(data[start:cut])
                # Longer than a file need be steady: only its content tells that it is not whole.
                yield from [None] * 4
                done = z + (cut == len(data))
                assert len(port.chunks) == done // CHUNK[0] * LAYER
                assert np.array_equal(port.volume(12)[: done // 4 * 4], VOLUME[: done // 4 * 4])

    scope = Microscope(events())
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert port.calls["land"] == 3 * LAYER


def test_the_landed_volume_is_the_source_byte_by_byte(tmp_path, folder):
    """With the real landing code and a real store; the writer is a thread, the clock is real."""
    port, scope = Local(tmp_path / "d.zarr"), Microscope()
    whole = [encoded(tmp_path, "deflated", plane) for plane in VOLUME]

    def write():
        for z in (2, 0, 1, 3, 5, 4, 9, 8, 7, 6):
            with (folder / f"s{z}.tif").open("wb", buffering=0) as file:
                for start in range(0, len(whole[z]), 97):
                    file.write(whole[z][start : start + 97])
        (folder / "finished").touch()

    thread = threading.Thread(target=write)
    thread.start()
    asked = threading.Event()
    watching = Watcher(
        str(folder), "d", port,
        rules=Rules(stable_s=0.1, first=0), end=EndCondition(end_file="finished"),
        settings=WatchSettings(poll_s=0.02), clock=time.monotonic, pause=asked.wait,
        report=scope.lines.append,
    )  # fmt: skip
    assert watching.run() == "done"
    thread.join()
    assert np.array_equal(port.volume(), VOLUME)
    again = Local(tmp_path / "d.zarr")
    again.seal("d", 10)
    assert watcher(folder, again, Microscope()).run() == "done"
    assert np.array_equal(again.volume(), VOLUME)


def test_what_is_no_slice_is_ignored_with_one_note(folder):
    port, scope = Memory(), Microscope()
    for name in ("Thumbs.db", ".hidden.tif", "s3.tif.part", "~s4.tif", "log.txt"):
        (folder / name).write_bytes(b"nothing")
    fill(folder, range(4))
    assert watcher(folder, port, scope, EndCondition(slices=4)).run() == "done"
    notes = [line for line in scope.lines if "no slices" in line]
    assert notes == [".hidden.tif, Thumbs.db, log.txt and 2 more: no slices (.tif, .tiff, .mrc)"]


def test_a_slice_of_another_shape_is_told_at_once_and_holds_up_its_layer_alone(folder):
    port = Memory()
    fill(folder, range(8))
    tif(folder / "slice_9.tif", VOLUME[0, :-1])
    scope = Microscope([None] * 8 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert {index[0] for index in port.chunks} == {1}
    (line,) = (line for line in scope.lines if "slice_9.tif" in line)
    assert "has shape (11, 13) and dtype uint16; expected (12, 13) and uint16" in line
    assert port.extent is None


def test_slices_that_are_all_of_another_shape_are_one_line(folder):
    for number in range(12):
        tif(folder / f"slice_{number}.tif", VOLUME[0, :-1])
    scope = Microscope([None] * 8 + [stop])
    assert watcher(folder, Memory(), scope).run() == "stopped"
    (line,) = (line for line in scope.lines if "has shape" in line)
    assert line.endswith("their layers wait; was the dataset made for another volume?")


def test_a_slice_that_stays_unreadable_is_named_once_and_waited_for(folder):
    port = Memory()
    fill(folder, range(8))
    whole = (folder / "slice_9.tif").read_bytes()
    (folder / "slice_9.tif").write_bytes(whole[:-10])

    def mend():
        assert {index[0] for index in port.chunks} == {1}
        assert sum("slice_9.tif" in line for line in scope.lines) == 1
        (folder / "slice_9.tif").write_bytes(whole)

    scope = Microscope([None] * 70 + [mend])
    assert watcher(folder, port, scope, EndCondition(slices=8)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:8])


def test_damage_that_only_shows_when_it_is_decoded_does_not_land(folder):
    port = Memory()
    fill(folder, range(8), "deflated")
    data = bytearray((folder / "slice_9.tiff").read_bytes())
    with tifffile.TiffFile(folder / "slice_9.tiff") as file:
        start = file.pages[0].dataoffsets[0]
    data[start : start + 8] = b"\0" * 8
    (folder / "slice_9.tiff").write_bytes(data)
    scope = Microscope([None] * 70 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert {index[0] for index in port.chunks} == {1}
    assert "slice_9.tiff cannot be read" in scope.text


def test_a_tiff_whose_table_is_written_before_its_data_waits_for_them(folder):
    """Some programs write sizes of 0 first and fill them in at the end."""
    port = Memory()
    fill(folder, range(4))
    path = folder / "slice_9.tif"
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["StripByteCounts"]
        assert tag.count == 1
        data = bytearray(whole)
        data[tag.valueoffset : tag.valueoffset + 4] = b"\0" * 4
    path.write_bytes(data)

    def finish():
        assert not port.chunks
        path.write_bytes(whole)

    scope = Microscope([None] * 10 + [finish])
    assert watcher(folder, port, scope, EndCondition(slices=4)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:4])


def test_a_slice_acquired_again_lands_again_while_the_watcher_runs(folder):
    port = Memory()
    fill(folder, range(8))
    second = VOLUME.copy()
    second[1] += 1

    def acquire_again():
        assert len(port.chunks) == 2 * LAYER
        fill(folder, [1], volume=second)

    scope = Microscope([None] * 6 + [acquire_again] + [None] * 6 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert np.array_equal(port.volume(8), second[:8])
    assert port.calls["land"] == 3 * LAYER


def test_started_again_it_goes_on_and_sends_nothing_twice(folder):
    port = Memory()
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


def test_what_changed_while_nobody_watched_lands_with_again(folder):
    port = Memory(extent_z=8)
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


def test_a_folder_that_may_have_lost_its_beginning_is_refused(folder):
    port = Memory()
    fill(folder, range(4))
    watcher(folder, port, Microscope([None] * 6 + [stop])).run()
    with pytest.raises(WrongUse, match="numbers begin at 8: give --first N"):
        watcher(folder, port, Microscope()).run()


def test_a_layer_that_is_declared_absent_reads_as_zero(folder):
    port, expected = Memory(), VOLUME.copy()
    expected[4:8] = 0
    fill(folder, [0, 1, 2, 3, 8, 9])
    absent = frozenset(range(12, 16))
    end = EndCondition(slices=10)
    assert watcher(folder, port, Microscope(), end, absent=absent).run() == "done"
    assert np.array_equal(port.volume(), expected)
    assert port.calls["absent"] == LAYER


def test_a_first_layer_that_is_absent_does_not_hold_up_a_short_last_one(folder):
    port, expected = Memory(), VOLUME[:7].copy()
    expected[:4] = 0
    for number in (0, 1, 3, 4, 5, 6):  # counted from 0: no smaller number can come
        tif(folder / f"slice_{number}.tif", VOLUME[number])
    absent = frozenset(range(4))
    end = EndCondition(slices=7)
    assert watcher(folder, port, Microscope(), end, absent=absent).run() == "done"
    assert np.array_equal(port.volume(), expected)


def test_where_a_smaller_number_may_come_the_first_one_is_asked_for(folder):
    scope = Microscope([None] * 8 + [stop])
    fill(folder, [0, 1, 3, 4, 5, 6])  # counted from 8
    absent = frozenset(range(8, 12))
    watching = watcher(folder, Memory(), scope, EndCondition(slices=7), absent=absent)
    assert watching.run() == "stopped"
    assert "give --first 8 if none will" in scope.text


def test_the_first_slices_are_told_of_before_a_layer_is_whole(folder):
    port, scope = Memory(), Microscope([None] * 3 + [stop])
    fill(folder, range(2))
    assert watcher(folder, port, scope).run() == "stopped"
    assert "2 slices so far; 4 land together" in scope.text


def test_a_layer_beyond_the_memory_is_read_by_rows_of_chunks(folder):
    port = Memory()
    fill(folder, range(10), "deflated")
    row_bytes = CHUNK[0] * CHUNK[1] * PLANE[1] * 2
    settings = WatchSettings(layer_bytes=2 * row_bytes)
    end = EndCondition(slices=10)
    assert watcher(folder, port, Microscope(), end, settings=settings).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    with pytest.raises(LimitExceeded, match="a row of chunks of 4 x 5 x 13 voxels takes 520 bytes"):
        settings = WatchSettings(layer_bytes=row_bytes - 1)
        watcher(folder, port, Microscope(), settings=settings).run()


class Meddling(Memory):
    """While the first chunk lands, somebody writes a slice of the layer anew."""

    meddle = None

    def land(self, *given, **named):
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle()
        return super().land(*given, **named)


def test_a_slice_that_changes_while_its_layer_lands_lands_again(folder):
    """Rows of chunks are read one after the other: the second row sees another file."""
    port, second = Meddling(), VOLUME.copy()
    second[2] += 1
    fill(folder, range(4))
    port.meddle = lambda: fill(folder, [2], volume=second)
    settings = WatchSettings(layer_bytes=CHUNK[0] * CHUNK[1] * PLANE[1] * 2)
    end = EndCondition(slices=4)
    assert watcher(folder, port, Microscope(), end, settings=settings).run() == "done"
    assert np.array_equal(port.volume(), second[:4])


PLAN = ExpectedVolume(PLANE, np.dtype(np.uint16), SIZE, CHUNK[0], None, frozenset())


def test_what_is_read_is_what_the_look_saw_or_nothing(folder):
    fill(folder, range(4))
    incoming = SliceFolder(folder, Rules(), PLAN)
    for now_s in (0.0, 5.0):
        incoming.poll(now_s)
    (layer,) = incoming.ready(None)
    rows = slice(5, 12)
    assert np.array_equal(incoming.read(layer, rows), VOLUME[:4, rows])
    fill(folder, [2], volume=VOLUME + 1)
    assert incoming.read(layer, rows) is None
    assert incoming.ready(None) == []
    (folder / "slice_9.tif").unlink()
    assert incoming.read(layer, rows) is None


def test_what_is_read_of_an_array_is_what_the_look_saw_or_nothing(tmp_path):
    array = make_array(tmp_path / "a.zarr", 4)
    array[:] = VOLUME[:4]
    incoming = GrowingZarr(str(tmp_path / "a.zarr"), Rules(), PLAN)
    for now_s in (0.0, 5.0):
        incoming.poll(now_s)
    (layer,) = incoming.ready(None)
    rows = slice(5, 12)
    assert np.array_equal(incoming.read(layer, rows), VOLUME[:4, rows])
    array[2] = VOLUME[2] + 1
    assert incoming.read(layer, rows) is None
    assert incoming.ready(None) == []


# -- ends ------------------------------------------------------------------------------------------


def test_an_end_file_ends_it_once_all_slices_are_whole(folder):
    port = Memory()
    fill(folder, range(9))
    whole = encoded(folder.parent, "plain", VOLUME[9])

    def finish():
        assert port.extent is None
        (folder / "done.txt").touch()
        (folder / "slice_17.tif").write_bytes(whole[:20])  # the share shows them out of order

    def complete():
        assert port.extent is None
        (folder / "slice_17.tif").write_bytes(whole)

    scope = Microscope([None] * 5 + [finish] + [None] * 10 + [complete])
    assert watcher(folder, port, scope, EndCondition(end_file="done.txt")).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_a_long_pause_ends_it_but_not_before_the_first_slice(folder):
    port = Memory()
    events = [None] * 50 + [lambda: fill(folder, range(5))] + [None] * 15
    scope = Microscope([*events, lambda: fill(folder, range(5, 10))])
    assert watcher(folder, port, scope, EndCondition(idle_s=20)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert 50 + 16 + 20 <= scope.now <= 50 + 16 + 20 + 3


def test_without_an_end_it_watches_on_and_a_stop_does_not_seal(folder):
    port, scope = Memory(), Microscope([None] * 200 + [stop])
    fill(folder, range(8))
    assert watcher(folder, port, scope).run() == "stopped"
    assert len(port.chunks) == 2 * LAYER
    assert port.extent is None


def test_it_stops_between_two_chunks(folder):
    port = Memory()
    fill(folder, range(4))
    scope = Microscope()
    watching = watcher(folder, port, scope)
    watching._pause = lambda wait_s: scope.pause(wait_s) or len(port.chunks) == 2
    assert watching.run() == "stopped"
    assert len(port.chunks) == 2


def test_an_end_with_something_missing_is_not_sealed(folder):
    port, scope = Memory(), Microscope()
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


def test_fewer_slices_than_promised_are_not_sealed(folder):
    port, scope = Memory(), Microscope()
    fill(folder, range(8))
    assert watcher(folder, port, scope, EndCondition(slices=10, idle_s=20)).run() == "incomplete"
    assert "not sealed: 10 slices were expected, 8 came" in scope.text
    assert len(port.chunks) == 2 * LAYER


def test_with_another_sign_of_the_end_that_many_slices_are_not_enough(folder):
    port, second = Memory(), VOLUME.copy()
    second[1] += 1
    fill(folder, range(6))

    def acquire_again():
        assert port.extent is None
        fill(folder, [1], volume=second)
        (folder / "end").touch()

    scope = Microscope([None] * 20 + [acquire_again])
    assert watcher(folder, port, scope, EndCondition(slices=6, end_file="end")).run() == "done"
    assert np.array_equal(port.volume(), second[:6])


def test_what_changed_just_before_the_end_is_not_lost(folder):
    """So many steady files are looked at in turn, but before the end all of them are."""
    count, port, second = 1200, Meddling(), VOLUME[:1] + 1
    tif(folder / "s0.tif", VOLUME[0])
    for n in range(1, count):
        (folder / f"s{n}.tif").hardlink_to(folder / "s0.tif")
    first = [(z, y, x) for z in range(count // 4 - 1) for y in range(3) for x in range(3)]
    port.chunks = {index: np.zeros(CHUNK, np.uint16)[:, : 12 - 5 * index[1], : 13 - 6 * index[2]]
                   for index in first}  # fmt: skip

    def change():
        (folder / "s999.tif").unlink()  # the last in the order of letters
        tif(folder / "s999.tif", second[0])

    port.meddle = change
    assert watcher(folder, port, Microscope(), EndCondition(slices=count)).run() == "done"
    landed = port.volume()
    assert np.array_equal(landed[996:1000], [VOLUME[0], VOLUME[0], VOLUME[0], second[0]])
    assert port.calls["land"] == 2 * LAYER


def test_more_slices_than_promised_are_left_out(folder):
    port = Memory()
    fill(folder, range(10))
    assert watcher(folder, port, Microscope(), EndCondition(slices=6)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:6])


def test_a_promise_that_contradicts_the_seal_is_refused(folder):
    with pytest.raises(WrongUse, match="--slices 9: d is sealed at 10"):
        watcher(folder, Memory(extent_z=10), Microscope(), EndCondition(slices=9)).run()


# -- trouble ---------------------------------------------------------------------------------------


def test_a_server_that_is_away_is_called_again_and_told_once(folder):
    port, scope = Memory(), Microscope()
    fill(folder, range(4))
    port.away = 5
    assert watcher(folder, port, scope, EndCondition(slices=4)).run() == "done"
    assert scope.waits[:5] == [1, 2, 4, 8, 16]
    assert scope.lines[:2] == ["away, is tried again and again: the server is away", "there again"]
    assert np.array_equal(port.volume(), VOLUME[:4])


def test_a_share_that_goes_away_comes_back(folder, tmp_path):
    port = Memory()
    fill(folder, range(6))

    def unmount():
        folder.rename(tmp_path / "gone")

    def mount():
        assert max(scope.waits) == 60
        (tmp_path / "gone").rename(folder)
        fill(folder, range(6, 10))

    scope = Microscope([None] * 6 + [unmount] + [None] * 12 + [mount])
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert sum("away" in line for line in scope.lines) == 1
    assert port.calls["land"] == 3 * LAYER


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WrongUse, match="nowhere: no such folder"):
        watcher(tmp_path / "nowhere", Memory(), Microscope())


def test_ten_thousand_slices_are_looked_at_cheaply(folder):
    """Names alone: opening is left to layers that wait."""
    whole = encoded(folder.parent, "plain", VOLUME[0])
    (folder / "s0.tif").write_bytes(whole)
    for n in range(1, 10_000):
        (folder / f"s{n}.tif").hardlink_to(folder / "s0.tif")
    port = Memory()
    port.chunks = dict.fromkeys((z, y, x) for z in range(2500) for y in range(3) for x in range(3))
    scope = Microscope([None] * 4 + [stop])
    watching = watcher(folder, port, scope)
    assert watching.run() == "stopped"
    begun = time.process_time()
    watching._turn()
    assert time.process_time() - begun < 1
    assert port.calls["land"] == 0


# -- Zarr ------------------------------------------------------------------------------------------

FORMATS = {
    "v3": {"zarr_format": 3, "chunks": (2, 8, 8)},
    "v3 shards": {"zarr_format": 3, "chunks": (1, 4, 4), "shards": (5, 8, 8)},
    "v3 dots": {"zarr_format": 3, "chunks": (3, 8, 8),
                "chunk_key_encoding": {"name": "default", "separator": "."}},
    "v2": {"zarr_format": 2, "chunks": (4, 12, 13)},
    "v2 slashes": {"zarr_format": 2, "chunks": (1, 12, 7),
                   "chunk_key_encoding": {"name": "v2", "separator": "/"}},
}  # fmt: skip


def make_array(path, depth, form="v3"):
    return zarr.create_array(path, shape=(depth, *PLANE), dtype="uint16", **FORMATS[form])


@pytest.mark.parametrize("form", FORMATS)
def test_an_array_that_gets_longer_lands_as_it_grows(tmp_path, form):
    path, port = tmp_path / "grows.zarr", Memory()
    array = make_array(path, 0, form)

    def append(z):
        def event():
            array.resize((z + 1, *PLANE))
            array[z] = VOLUME[z]

        return event

    events = [step for z in range(10) for step in (append(z), None, None, None)]
    scope = Microscope(events)
    assert watcher(path, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


@pytest.mark.parametrize("form", FORMATS)
def test_an_array_made_beforehand_lands_as_its_chunks_appear(tmp_path, form):
    """A storage chunk may be half filled when it is steady: it lands again when it is filled."""
    path, port = tmp_path / "made.zarr", Memory()
    array = make_array(path, 10, form)

    def write(start, stop):
        def event():
            array[start:stop] = VOLUME[start:stop]

        return event

    events = [None] * 5 + [write(5, 10)] + [None] * 6 + [write(2, 5), None, None, None, write(0, 2)]
    ending = EndCondition(slices=10, idle_s=8)
    assert watcher(path, port, Microscope(events), ending).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_an_array_that_comes_later_in_a_group_is_found(tmp_path):
    path, port = tmp_path / "later.zarr", Memory()
    path.mkdir()

    def make():
        group = zarr.create_group(path, zarr_format=3)
        axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
        scale = [{"type": "scale", "scale": list(SIZE)}]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        group.attrs["ome"] = ome
        group.create_array("0", shape=(10, *PLANE), chunks=(5, 8, 8), dtype="uint16")[:] = VOLUME

    scope = Microscope([None] * 5 + [make])
    assert watcher(path, port, scope, EndCondition(idle_s=20)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_a_storage_chunk_that_is_written_in_pieces_waits(tmp_path):
    path, port = tmp_path / "torn.zarr", Memory()
    make_array(path, 10, "v2")[:] = VOLUME
    torn = path / "1.0.0"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-5])

    def mend():
        assert {index[0] for index in port.chunks} == {0}
        torn.write_bytes(whole)

    scope = Microscope([None] * 8 + [mend])
    assert watcher(path, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_a_storage_chunk_that_never_comes_is_named(tmp_path):
    path, port = tmp_path / "holes.zarr", Memory()
    array = make_array(path, 12, "v2")
    array[:4], array[8:] = VOLUME[:4], VOLUME[:4]
    scope = Microscope()
    assert watcher(path, port, scope, EndCondition(idle_s=5)).run() == "incomplete"
    assert {index[0] for index in port.chunks} == {0, 2}
    assert port.extent is None
    assert "planes 4 to 7 wait for 1.0.0; chunks that hold only zeros have to be" in scope.text


@pytest.mark.parametrize(
    ("made", "line"),
    [
        ({"shape": (10, 12, 14), "dtype": "uint16"}, r"has shape .* expected \(z, 12, 13\)"),
        ({"shape": (10, *PLANE), "dtype": "uint8"}, "has dtype uint8; expected uint16"),
    ],
)
def test_an_array_that_cannot_become_the_dataset_is_refused(tmp_path, made, line):
    zarr.create_array(tmp_path / "other.zarr", chunks=(4, 4, 4), **made)
    with pytest.raises(WrongUse, match=line):
        watcher(tmp_path / "other.zarr", Memory(), Microscope()).run()


def test_n5_is_refused(tmp_path):
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(tmp_path / "v.n5")}}
    spec["metadata"] = {"dimensions": [13, 12, 8], "blockSize": [4, 4, 4], "dataType": "uint16",
                        "compression": {"type": "raw"}}  # fmt: skip
    tensorstore.open(spec, create=True).result()
    with pytest.raises(WrongUse, match="N5 cannot be watched"):
        watcher(tmp_path / "v.n5", Memory(), Microscope()).run()


@pytest.mark.parametrize("form", FORMATS)
def test_the_names_of_storage_chunks_are_those_that_are_written(tmp_path, form):
    path = tmp_path / "names.zarr"
    array = make_array(path, 10, form)
    array[:] = VOLUME
    metadata = path / ("zarr.json" if form.startswith("v3") else ".zarray")
    storage = chunk_files(json.loads(metadata.read_text()))
    there = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    assert set(storage.names(0, 10)) == there - {"zarr.json", ".zarray", ".zattrs"}


# -- the command -----------------------------------------------------------------------------------


def test_the_command_says_how_it_ended(folder, capsys):
    fill(folder, range(8))
    given = {
        "rules": make_rules(stable_s=0.05, giveup_s=0.2, first=None, absent=None, pattern=None),
        "settings": make_habits(poll_s=0.02, again=False, memory_gb=1),
    }
    ending = make_ending(slices=None, end_file=None, idle_s=0.3)
    assert watch_folder(Memory(), "d", str(folder), ending=ending, **given) == 0
    assert "d: all slices have landed" in capsys.readouterr().err
    (folder / "slice_10.tif").unlink()
    assert watch_folder(Memory(), "d", str(folder), ending=ending, **given) == 1
    assert "slice 10 is missing" in capsys.readouterr().err


def test_a_signal_stops_the_command_and_a_second_one_does_what_it_always_does(folder, capsys):
    fill(folder, range(8))
    port = Memory()
    port.seal = None  # never called
    main = threading.main_thread().ident

    def interrupt():
        while len(port.chunks) < 2 * LAYER:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    rules = make_rules(stable_s=0.05, giveup_s=60, first=None, absent=None, pattern=None)
    settings = make_habits(poll_s=0.02, again=False, memory_gb=1)
    end = EndCondition()
    code = watch_folder(port, "d", str(folder), ending=end, rules=rules, settings=settings)
    thread.join()
    assert code == 130
    assert "stopped, not sealed; call again to go on" in capsys.readouterr().err
    before = signal.getsignal(signal.SIGINT)
    with asked_to_stop() as pause:
        assert not pause(0)
        signal.raise_signal(signal.SIGINT)
        assert pause(5)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_numbers_are_listed_like_pages():
    assert parse_numbers("17, 20-22", "--absent") == {17, 20, 21, 22}


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-5", "1-99999999", "0x1"])
def test_other_lists_are_refused(text):
    with pytest.raises(WrongUse, match=r"--absent .*: expected numbers of slices"):
        parse_numbers(text, "--absent")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: make_habits(poll_s=0, again=False, memory_gb=1), "--poll-s 0: expected a pos"),
        (lambda: make_habits(poll_s=1, again=False, memory_gb=float("nan")), "--memory-gb nan"),
        (lambda: make_ending(slices=0, end_file=None, idle_s=None), "--slices 0: expected 1 to"),
        (lambda: make_ending(slices=None, end_file="a/b", idle_s=None), "--end-file 'a/b'"),
        (lambda: make_ending(slices=None, end_file=None, idle_s=-1), "--idle-s -1: expected a pos"),
    ],
)
def test_wrong_flags_are_named(call, line):
    with pytest.raises(WrongUse, match=line):
        call()


@pytest.mark.parametrize(
    ("pattern", "line"), [("(", "missing"), ("a", "one group"), ("(a)(b)", "one")]
)
def test_wrong_patterns_are_named(pattern, line):
    with pytest.raises(WrongUse, match=f"--pattern .*{line}"):
        make_rules(stable_s=2, giveup_s=60, first=None, absent=None, pattern=pattern)
