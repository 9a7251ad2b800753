"""Slices that are faulty, and shares and servers that go away: reported once, and waited for."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibstream.core.errors import WrongUse
from fibstream.services.ingest.edges.watch.ending import EndCondition

from .watching import (
    LAYER,
    VOLUME,
    MemoryPort,
    Microscope,
    fill,
    stop,
    tif,
    watcher,
)


def test_a_slice_of_another_shape_is_reported_at_once_and_holds_up_its_layer_alone(
    folder: Path,
) -> None:
    port = MemoryPort()
    fill(folder, range(8))
    tif(folder / "slice_9.tif", VOLUME[0, :-1])
    scope = Microscope([None] * 8 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert {index[0] for index in port.chunks} == {1}
    (line,) = (line for line in scope.lines if "slice_9.tif" in line)
    assert "has shape (11, 13) and dtype uint16; expected (12, 13) and uint16" in line
    assert port.extent is None


def test_slices_that_are_all_of_another_shape_are_one_line(folder: Path) -> None:
    for number in range(12):
        tif(folder / f"slice_{number}.tif", VOLUME[0, :-1])
    scope = Microscope([None] * 8 + [stop])
    assert watcher(folder, MemoryPort(), scope).run() == "stopped"
    (line,) = (line for line in scope.lines if "has shape" in line)
    assert line.endswith("their layers wait; was the dataset made for another volume?")


def test_a_slice_that_stays_unreadable_is_named_once_and_waited_for(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(8))
    whole = (folder / "slice_9.tif").read_bytes()
    (folder / "slice_9.tif").write_bytes(whole[:-10])

    def repair() -> None:
        assert {index[0] for index in port.chunks} == {1}
        assert sum("slice_9.tif" in line for line in scope.lines) == 1
        (folder / "slice_9.tif").write_bytes(whole)

    scope = Microscope([None] * 70 + [repair])
    assert watcher(folder, port, scope, EndCondition(slices=8)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:8])


def test_damage_that_only_shows_when_it_is_decoded_does_not_land(folder: Path) -> None:
    port = MemoryPort()
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


def test_a_tiff_whose_table_is_written_before_its_data_waits_for_them(folder: Path) -> None:
    """Some programs write sizes of 0 first and fill them in at the end."""
    port = MemoryPort()
    fill(folder, range(4))
    path = folder / "slice_9.tif"
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["StripByteCounts"]
        assert tag.count == 1
        data = bytearray(whole)
        data[tag.valueoffset : tag.valueoffset + 4] = b"\0" * 4
    path.write_bytes(data)

    def finish() -> None:
        assert not port.chunks
        path.write_bytes(whole)

    scope = Microscope([None] * 10 + [finish])
    assert watcher(folder, port, scope, EndCondition(slices=4)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:4])


def test_a_folder_that_may_have_lost_its_beginning_is_refused(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(4))
    watcher(folder, port, Microscope([None] * 6 + [stop])).run()
    with pytest.raises(WrongUse, match="numbers begin at 8: give --first N"):
        watcher(folder, port, Microscope()).run()


def test_a_server_that_is_away_is_called_again_and_reported_once(folder: Path) -> None:
    port, scope = MemoryPort(), Microscope()
    fill(folder, range(4))
    port.away = 5
    assert watcher(folder, port, scope, EndCondition(slices=4)).run() == "done"
    assert scope.waits[:5] == [1, 2, 4, 8, 16]
    assert scope.lines[:2] == ["away, is tried again and again: the server is away", "there again"]
    assert np.array_equal(port.volume(), VOLUME[:4])


def test_a_share_that_goes_away_comes_back(folder: Path, tmp_path: Path) -> None:
    port = MemoryPort()
    fill(folder, range(6))

    def unmount() -> None:
        folder.rename(tmp_path / "gone")

    def mount() -> None:
        assert max(scope.waits) == 60
        (tmp_path / "gone").rename(folder)
        fill(folder, range(6, 10))

    scope = Microscope([None] * 6 + [unmount] + [None] * 12 + [mount])
    assert watcher(folder, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)
    assert sum("away" in line for line in scope.lines) == 1
    assert port.calls["land"] == 3 * LAYER


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="nowhere: no such folder"):
        watcher(tmp_path / "nowhere", MemoryPort(), Microscope())


@pytest.mark.parametrize("name", ["slice_{0:05}_z={1:.4f}um.tif", "{0:04}_HeLa_8nm.tif"])
def test_the_number_that_counts_up_gives_the_place(name: str, folder: Path) -> None:
    """As `run` finds it: the last number in the name is a position or a size."""
    port = MemoryPort()
    for z in random.Random(4).sample(range(8), 8):
        tif(folder / name.format(z, z * 0.008), VOLUME[z])
    scope = Microscope()
    assert watcher(folder, port, scope, EndCondition(slices=8)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:8])


def test_two_series_are_named_once_and_nothing_lands(folder: Path) -> None:
    port = MemoryPort()
    for z in range(8):
        tif(folder / f"ESB_{z:04}.tif", VOLUME[z])
        tif(folder / f"SE2_{z:04}.tif", VOLUME[z + 1])
    scope = Microscope([None] * 9 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert not port.chunks
    (line,) = (line for line in scope.lines if "slices" in line)
    assert "2 series of slices are in one folder, ESB_0000.tif, SE2_0000.tif" in line
    assert r"such as --pattern '^ESB_([0-9]+)\.'; all layers wait" in line
    chosen = watcher(folder, port, Microscope(), EndCondition(slices=8), pattern=r"^ESB_([0-9]+)\.")
    assert chosen.run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:8])


def test_the_place_of_the_number_is_kept_once_slices_have_landed(folder: Path) -> None:
    """A second series that begins later is named, and does not move the first."""
    port = MemoryPort()

    def begin_another() -> None:
        assert port.chunks
        for z in range(8):
            tif(folder / f"m_t0001_s{z:03}.tif", VOLUME[0])

    for z in range(4):
        tif(folder / f"m_t0000_s{z:03}.tif", VOLUME[z])
    scope = Microscope([None] * 6 + [begin_another] + [None] * 6 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert np.array_equal(port.volume(4), VOLUME[:4])
    assert "2 series of slices are in one folder, m_t0000_s000.tif, m_t0001_s000.tif" in scope.text


def test_a_link_to_itself_is_named_and_passed_over(folder: Path) -> None:
    port = MemoryPort()
    fill(folder, range(8))
    (folder / "slice_16.tif").symlink_to("slice_16.tif")
    (folder / "again").symlink_to("again")
    scope = Microscope()
    watching = watcher(folder, port, scope, EndCondition(slices=8))
    assert watching.run() == "done"
    assert np.array_equal(port.volume(), VOLUME[:8])
    (line,) = (line for line in scope.lines if "link to itself" in line)
    assert "slice_16.tif is a link to itself: it is left out" in line
    assert watching.problems


def test_slices_with_white_as_zero_are_told_and_one_among_others_does_not_land(
    folder: Path,
) -> None:
    port = MemoryPort()
    for z in range(8):
        tif(folder / f"slice_{z}.tif", VOLUME[z], photometric="miniswhite")
    tif(folder / "slice_6.tif", VOLUME[6], photometric="minisblack")
    scope = Microscope([None] * 9 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert {index[0] for index in port.chunks} == {0}
    assert sum("create has --invert" in line for line in scope.lines) == 1
    assert "slice_6.tif has black as 0; expected white as in slice_0.tif" in scope.text


@pytest.mark.parametrize("mended", [True, False])
def test_a_first_slice_with_white_as_zero_is_mended(folder: Path, *, mended: bool) -> None:
    """It decides what is expected only while it is there as it was: seven others follow it."""
    port = MemoryPort()
    tif(folder / "slice_0.tif", VOLUME[0], photometric="miniswhite")
    for z in range(1, 8):
        tif(folder / f"slice_{z}.tif", VOLUME[z])

    def mend() -> None:
        assert not port.chunks
        (line,) = (line for line in scope.lines if "black as 0; expected white" in line)
        assert "others too, their layers wait" in line
        (folder / "slice_0.tif").unlink()
        if mended:
            tif(folder / "slice_0.tif", VOLUME[0])

    scope = Microscope([None] * 9 + [mend] + [None] * 70 + [stop])
    found = watcher(folder, port, scope, EndCondition(slices=8 if mended else 9)).run()
    assert found == ("done" if mended else "stopped")
    assert {index[0] for index in port.chunks} == ({0, 1} if mended else {0})


def test_the_number_stays_where_it_was_when_slices_landed(folder: Path) -> None:
    """The fifth name would show that the other number counts better: it comes too late."""
    port = MemoryPort()
    for z in range(4):
        tif(folder / f"s{z + 1:03}_z{z + 101}.tif", VOLUME[z])

    def go_on() -> None:
        assert port.chunks
        for z in range(4, 8):
            tif(folder / f"s{z + 1:03}_z{z + 102}.tif", VOLUME[z])

    scope = Microscope([None] * 6 + [go_on] + [None] * 70 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert "slice 105 is missing and what follows waits" in scope.text
    assert {index[0] for index in port.chunks} == {0}


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero"),
    "nowhere": lambda path: path.symlink_to("/nowhere.tif"),
    "text": lambda path: path.symlink_to("/etc/passwd"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_slice_but_named_as_one_is_told_and_the_rest_lands(
    folder: Path, kind: str
) -> None:
    port = MemoryPort()
    fill(folder, range(8))
    (folder / "slice_9.tif").unlink()
    KINDS[kind](folder / "slice_9.tif")
    scope = Microscope([None] * 80 + [stop])
    assert watcher(folder, port, scope).run() == "stopped"
    assert {index[0] for index in port.chunks} == {1}
    assert sum("slice_9.tif" in line for line in scope.lines) == 1, scope.text
    assert "root:" not in scope.text
