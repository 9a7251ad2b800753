"""A dataset that was deleted stays deleted, whoever was still at work on it."""

import threading
import time
from contextlib import closing

import pytest
from fibstream.services.ingest.datasets import Made, create
from fibstream.services.ingest.service import SERVICE as INGEST

from fibstream.dataset import Dataset
from fibstream.errors import NotFound
from fibstream.host import Labourer, Planners
from fibstream.local import LocalFiles
from fibstream.root import Root
from fibstream.settings import Settings
from fibstream.sqlite import SqliteBus

DATASET = Dataset(
    name="cell", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
)  # fmt: skip


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    made = Root(str(tmp_path / "root"))
    create(made, Made(DATASET, {}, []))
    return made


def test_a_straggler_that_writes_is_told_and_makes_nothing(root, tmp_path):
    files = root.files("cell")
    root.remove("cell")
    with pytest.raises(NotFound, match=r"cell\.zarr"):
        files.put("raw/c/0/0/0", b"late")
    with pytest.raises(NotFound, match=r"bus\.sqlite"):
        root.bus("cell")
    assert {path.name for path in (tmp_path / "root").iterdir()} == {".fibstream", "catalogue"}


@pytest.mark.parametrize("kind", [Planners, Labourer])
def test_a_process_that_has_read_the_catalogue_lets_it_go(root, tmp_path, kind):
    names = ("w",) if kind is Labourer else ()
    with closing(kind(INGEST, root, Settings(), *names)) as host:
        host.turn()
        assert "cell" in host._loops
        root.remove("cell")
        deadline = time.monotonic() + 10
        while "cell" in host._loops:
            host.turn()
            assert time.monotonic() < deadline
    assert not (tmp_path / "root/cell.zarr").exists()


def test_deleting_outlasts_those_who_have_not_noticed(root, tmp_path):
    writing, told = threading.Barrier(3), []

    def straggle(name: str) -> None:
        files = LocalFiles(tmp_path / "root/cell.zarr")
        files.put(f"{name}/0", b"x")
        writing.wait(10)
        try:
            for n in range(100_000):
                files.put(f"{name}/{n % 50}/{n}", b"x")
        except NotFound as error:
            told.append(error)

    threads = [threading.Thread(target=straggle, args=(n,)) for n in "ab"]
    [thread.start() for thread in threads]
    writing.wait(10)
    root.remove("cell")
    [thread.join(30) for thread in threads]
    assert len(told) == 2
    assert not (tmp_path / "root/cell.zarr").exists()


def test_a_bus_of_its_own_needs_the_folder_above_it(tmp_path):
    with pytest.raises(NotFound, match="nowhere"):
        SqliteBus(tmp_path / "nowhere/private/bus.sqlite")
    assert list(tmp_path.iterdir()) == []
