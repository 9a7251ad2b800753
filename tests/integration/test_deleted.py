"""A dataset that was deleted stays deleted, whoever was still at work on it."""

import contextlib
import threading
import time
from contextlib import closing

import pytest

from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import Dataset
from fibstream.core.errors import NotFound
from fibstream.runtime import root as root_module
from fibstream.runtime.host import PlannerHost
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.runtime.worker_host import WorkerHost
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.ingest.service import SERVICE as INGEST
from fibstream.store.local import LocalFiles

from ..support.patience import PATIENCE_S

DATASET = Dataset(
    name="cell", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
)  # fmt: skip


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    made = Root(str(tmp_path / "root"))
    create(made, DatasetDesign(DATASET, {}, []))
    return made


def test_a_straggler_that_writes_is_told_and_makes_nothing(root, tmp_path) -> None:
    files = root.files("cell")
    root.remove("cell")
    with pytest.raises(NotFound, match=r"cell\.zarr"):
        files.put("raw/c/0/0/0", b"late")
    with pytest.raises(NotFound, match=r"bus\.sqlite"):
        root.bus("cell")
    assert {path.name for path in (tmp_path / "root").iterdir()} == {".fibstream", "catalogue"}


@pytest.mark.parametrize("kind", [PlannerHost, WorkerHost])
def test_a_process_that_has_read_the_catalogue_lets_it_go(root, tmp_path, kind) -> None:
    names = ("w",) if kind is WorkerHost else ()
    with closing(kind(INGEST, root, Settings.model_validate({}), *names)) as host:
        host.turn()
        assert "cell" in host.loops
        root.remove("cell")
        deadline = time.monotonic() + PATIENCE_S
        while "cell" in host.loops:
            host.turn()
            assert time.monotonic() < deadline
    assert not (tmp_path / "root/cell.zarr").exists()


def test_deleting_outlasts_those_who_have_not_noticed(root, tmp_path) -> None:
    writing, told = threading.Barrier(3), []

    def straggle(name: str) -> None:
        files = LocalFiles(tmp_path / "root/cell.zarr")
        files.put(f"{name}/first", b"x")
        writing.wait(PATIENCE_S)
        try:
            for n in range(100_000):
                files.put(f"{name}/{n % 50}/{n}", b"x")
        except NotFound as error:
            told.append(error)

    threads = [threading.Thread(target=straggle, args=(n,)) for n in "ab"]
    for thread in threads:
        thread.start()
    writing.wait(PATIENCE_S)
    root.remove("cell")
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(told) == 2
    assert not (tmp_path / "root/cell.zarr").exists()


def test_a_bus_of_its_own_needs_the_folder_above_it(tmp_path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        SqliteBus(tmp_path / "nowhere/private/bus.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_calls_use_one_bus_again_until_its_dataset_is_another(root) -> None:
    with root.open("cell") as (_, first):
        first.bus.publish("control", "cell", b"1")
    with root.open("cell") as (_, again):
        assert again.bus is first.bus
        with root.open("cell") as (_, beside):  # a bus is not for two threads
            assert beside.bus is not first.bus
    root.remove("cell")
    create(root, DatasetDesign(DATASET, {}, []))
    with root.open("cell") as (_, other):
        assert other.bus is not first.bus
        assert other.bus.read(["control"], 0) == []
    root.close()
    with root.open("cell") as (_, last):
        assert last.bus is not other.bus


def test_a_bus_of_a_call_that_failed_is_not_used_again(root) -> None:
    with pytest.raises(RuntimeError), root.open("cell") as (_, first):
        raise RuntimeError
    with root.open("cell") as (_, again):
        assert again.bus is not first.bus


def test_few_buses_are_kept(root) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(root_module.MAX_IDLE + 3):
            held.enter_context(root.open("cell"))
    assert len(root._idle) == root_module.MAX_IDLE


def test_a_straggler_writes_nothing_into_a_dataset_of_the_same_name(root, tmp_path) -> None:
    with root.open("cell") as (_, site):
        files = site.store.files
        root.remove("cell")
        create(root, DatasetDesign(DATASET, {}, []))
        number = files_below(tmp_path)
        for write in (lambda: files.put("raw/s0/c/0/0/0", b"late"),
                      lambda: files.put("raw/s0/c/0/0/0", b"late", expected=()),
                      lambda: files.delete("provenance/dataset.json")):  # fmt: skip
            with pytest.raises(NotFound, match=r"cell\.zarr"):
                write()
    assert files_below(tmp_path) == number
    assert root.files("cell").put("raw/s0/c/0/0/0", b"its own")


def files_below(folder) -> set:
    return {path for path in folder.rglob("*") if path.is_file() and path.name != "put.lock"}
