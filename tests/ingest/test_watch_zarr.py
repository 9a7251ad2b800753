"""A Zarr array that grows lands as its files become stable."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr

from fibstream.core.errors import WrongUse
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.edges.watch.ending import EndCondition
from fibstream.services.ingest.edges.watch.growing import ExpectedVolume
from fibstream.services.ingest.edges.watch.zarr_array import GrowingZarr
from fibstream.volumes.zarr_n5.chunk_files import zarr_files

from .watching import CHUNK, PLANE, SIZE, VOLUME, Info, MemoryPort, Microscope, watcher

FORMATS: dict[str, dict[str, Any]] = {
    "v3": {"zarr_format": 3, "chunks": (2, 8, 8)},
    "v3 shards": {"zarr_format": 3, "chunks": (1, 4, 4), "shards": (5, 8, 8)},
    "v3 dots": {"zarr_format": 3, "chunks": (3, 8, 8),
                "chunk_key_encoding": {"name": "default", "separator": "."}},
    "v2": {"zarr_format": 2, "chunks": (4, 12, 13)},
    "v2 slashes": {"zarr_format": 2, "chunks": (1, 12, 7),
                   "chunk_key_encoding": {"name": "v2", "separator": "/"}},
}  # fmt: skip


def make_array(path: Path, depth: int, form: str = "v3") -> "zarr.Array[Any]":
    return zarr.create_array(path, shape=(depth, *PLANE), dtype="uint16", **FORMATS[form])


@pytest.mark.parametrize("form", FORMATS)
def test_an_array_that_gets_longer_lands_as_it_grows(tmp_path: Path, form: str) -> None:
    path, port = tmp_path / "grows.zarr", MemoryPort()
    array = make_array(path, 0, form)

    def append(z: int) -> Callable[[], None]:
        def event() -> None:
            array.resize((z + 1, *PLANE))
            array[z] = VOLUME[z]

        return event

    events = [step for z in range(10) for step in (append(z), None, None, None)]
    scope = Microscope(events)
    assert watcher(path, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


@pytest.mark.parametrize("form", FORMATS)
def test_an_array_made_beforehand_lands_as_its_chunks_appear(tmp_path: Path, form: str) -> None:
    """A storage chunk may be half filled when it is stable: it lands again when it is filled."""
    path, port = tmp_path / "made.zarr", MemoryPort()
    array = make_array(path, 10, form)

    def write(start: int, stop: int) -> Callable[[], None]:
        def event() -> None:
            array[start:stop] = VOLUME[start:stop]

        return event

    events = [None] * 5 + [write(5, 10)] + [None] * 6 + [write(2, 5), None, None, None, write(0, 2)]
    ending = EndCondition(slices=10, idle_s=8)
    assert watcher(path, port, Microscope(events), ending).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_an_array_that_comes_later_in_a_group_is_found(tmp_path: Path) -> None:
    path, port = tmp_path / "later.zarr", MemoryPort()
    path.mkdir()

    def make() -> None:
        group = zarr.create_group(path, zarr_format=3)
        axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
        scale = [{"type": "scale", "scale": list(SIZE)}]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        ome: Any = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        group.attrs["ome"] = ome
        group.create_array("0", shape=(10, *PLANE), chunks=(5, 8, 8), dtype="uint16")[:] = VOLUME

    scope = Microscope([None] * 5 + [make])
    assert watcher(path, port, scope, EndCondition(idle_s=20)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_a_storage_chunk_that_is_written_in_pieces_waits(tmp_path: Path) -> None:
    path, port = tmp_path / "torn.zarr", MemoryPort()
    make_array(path, 10, "v2")[:] = VOLUME
    torn = path / "1.0.0"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-5])

    def repair() -> None:
        assert {index[0] for index in port.chunks} == {0}
        torn.write_bytes(whole)

    scope = Microscope([None] * 8 + [repair])
    assert watcher(path, port, scope, EndCondition(slices=10)).run() == "done"
    assert np.array_equal(port.volume(), VOLUME)


def test_a_storage_chunk_that_never_comes_is_named(tmp_path: Path) -> None:
    path, port = tmp_path / "holes.zarr", MemoryPort()
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
def test_an_array_that_cannot_become_the_dataset_is_refused(
    tmp_path: Path, made: dict[str, Any], line: str
) -> None:
    zarr.create_array(tmp_path / "other.zarr", chunks=(4, 4, 4), **made)
    with pytest.raises(WrongUse, match=line):
        watcher(tmp_path / "other.zarr", MemoryPort(), Microscope()).run()


def test_n5_is_refused(tmp_path: Path) -> None:
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": str(tmp_path / "v.n5")}}
    spec["metadata"] = {"dimensions": [13, 12, 8], "blockSize": [4, 4, 4], "dataType": "uint16",
                        "compression": {"type": "raw"}}  # fmt: skip
    tensorstore.open(spec, create=True).result()
    with pytest.raises(WrongUse, match="N5 cannot be watched"):
        watcher(tmp_path / "v.n5", MemoryPort(), Microscope()).run()


@pytest.mark.parametrize("form", FORMATS)
def test_the_names_of_storage_chunks_are_those_that_are_written(tmp_path: Path, form: str) -> None:
    path = tmp_path / "names.zarr"
    array = make_array(path, 10, form)
    array[:] = VOLUME
    metadata = path / ("zarr.json" if form.startswith("v3") else ".zarray")
    storage = zarr_files(json.loads(metadata.read_text()))
    there = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    assert set(storage.names(0, 10)) == there - {"zarr.json", ".zarray", ".zattrs"}


EXPECTED = ExpectedVolume(PLANE, np.dtype(np.uint16), SIZE, CHUNK[0], None, frozenset())


def test_a_layer_whose_chunks_changed_since_the_poll_is_not_read(tmp_path: Path) -> None:
    array = make_array(tmp_path / "a.zarr", 4)
    array[:] = VOLUME[:4]
    growing = GrowingZarr(str(tmp_path / "a.zarr"), Rules(), EXPECTED)
    for now_s in (0.0, 5.0):
        growing.poll(now_s)
    (layer,) = growing.ready(None)
    rows = slice(5, 12)
    found = growing.read(layer, rows)
    assert found is not None and np.array_equal(found, VOLUME[:4, rows])
    array[2] = VOLUME[2] + 1
    assert growing.read(layer, rows) is None
    assert growing.ready(None) == []


@pytest.mark.parametrize(("at", "refused"), [((0, 0, 0), False), ((80, 0, 0), True)])
def test_an_array_that_lies_elsewhere_is_refused(
    tmp_path: Path, at: tuple[int, int, int], refused: bool
) -> None:
    array = make_array(tmp_path / "a.zarr", 10)
    array[:] = VOLUME
    array.attrs["transform"] = {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": SIZE,
                                "translate": at}  # fmt: skip
    port = MemoryPort()
    run = watcher(tmp_path / "a.zarr", port, Microscope([]), EndCondition(slices=10)).run
    if not refused:
        assert run() == "done"
        return
    with pytest.raises(WrongUse, match="begins at 80,0,0 nm; the dataset at 0,0,0 nm: expected"):
        run()
    assert not port.chunks


def test_a_dataset_of_means_is_not_watched(tmp_path: Path) -> None:
    """Voxels that were not averaged must not land in it."""

    class Averaged(MemoryPort):
        def info(self, dataset: str) -> Info:
            return replace(super().info(dataset), downsample=(1, 2, 2))

    port = Averaged()
    with pytest.raises(WrongUse, match="made with --downsample 1,2,2, and watch averages nothing"):
        watcher(tmp_path, port, Microscope([]), EndCondition(slices=10)).run()
