"""A root with a dataset of each kind of damage, and a healthy one: it alone is served."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream import registry
from fibstream.app.housekeeping import delete_folder
from fibstream.core.dataset import RECORD, Dataset, Organelle, Prediction
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid
from fibstream.core.keys import canonical
from fibstream.runtime import quarantine
from fibstream.runtime.host import PlannerHost
from fibstream.runtime.loops import drive
from fibstream.runtime.root import Root, bus_path
from fibstream.runtime.settings import Settings
from fibstream.runtime.site import Site
from fibstream.runtime.worker_host import WorkerHost
from fibstream.services.analysis.servicer import AnalysisServicer
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.ingest.edges.landing import land
from fibstream.services.ingest.servicer import IngestServicer
from fibstream.services.refine.recipe import resolve
from fibstream.store.store import Store
from fibstream.v1 import analysis_pb2
from fibstream.v1 import ingest_pb2 as pb

from ..support.patience import PATIENCE_S

SETTINGS = Settings.model_validate({})
GRID = Grid((16, 8, 8), (8, 8, 8))
MITO = Organelle(
    name="mito", recipe="mito", inputs={"prediction": "mito"},
    settings=resolve("mito", {"min_volume_nm3": 0}).model_dump(mode="json"),
)  # fmt: skip
HEALTHY = Dataset(
    name="healthy", shape=GRID.shape, chunk=GRID.chunk, dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255), predictions=(Prediction(name="mito"),), organelles=(MITO,),
)  # fmt: skip

Break = Callable[[Path], None]


def record(**changes: Any) -> Break:
    """Return what writes other fields into a record."""

    def put(folder: Path) -> None:
        found = json.loads((folder / RECORD).read_text())
        (folder / RECORD).write_bytes(canonical(found | changes))

    return put


def content(path: str, data: bytes) -> Break:
    """Return what puts other bytes into a file."""

    def put(folder: Path) -> None:
        (folder / path).write_bytes(data)

    return put


def folder_at(path: str) -> Break:
    """Return what puts a folder in the place of a file."""

    def put(folder: Path) -> None:
        (folder / path).unlink(missing_ok=True)
        (folder / path / "inside").mkdir(parents=True)

    return put


def linked(folder: Path) -> None:
    """Put a link to nowhere in the place of a dataset."""
    shutil.rmtree(folder)
    folder.symlink_to(folder / "nowhere")


def foreign_bus(folder: Path) -> None:
    """Put the database of another program in the place of a bus."""
    bus_path(folder).unlink(missing_ok=True)
    with closing(sqlite3.connect(bus_path(folder))) as db:
        db.execute("CREATE TABLE places (url TEXT)")


def cut_bus(folder: Path) -> None:
    """Cut a bus short in the middle of its pages."""
    data = bus_path(folder).read_bytes()
    bus_path(folder).write_bytes(data[: len(data) // 3])


BUS = str(bus_path(Path()))
FORGED = {"name": "mito", "recipe": "../../x", "inputs": {}, "settings": {}}
DAMAGE: dict[str, tuple[Break, str]] = {  # what is done to a dataset, and a word of its reason
    "no-json": (content(RECORD, b"\0\1\xff junk"), "JSON"),
    "empty": (content(RECORD, b""), "JSON"),
    "version": (record(format=3), "format"),
    "earlier": (record(format=1), "format 1"),
    "words": (record(spin=1), "spin"),
    "another": (record(name="healthy"), "healthy"),
    "outside": (record(name="../../x"), "part of a path"),
    "recipe": (record(organelles=[FORGED]), "recipe"),
    "unknown": (record(organelles=[FORGED | {"recipe": "cake"}]), "cake"),
    "organelle": (record(organelles=[FORGED | {"recipe": "mito", "name": "../x"}]), "name"),
    "settings": (record(organelles=[{**MITO.model_dump(), "settings": {"smooth_nm": -1}}]),
                 "smooth_nm"),
    "contact": (record(steps={"contacts": [
        {"a": "mito", "b": "mito", "distance_nm": 1, "name": "../../../x"}]}), "name"),
    "beyond": (record(chunk=[10**9, 8, 8]), "512"),
    "axis": (record(shape=[8, 8, 2**40]), "2097152"),
    "nan": (record(contrast=["nan", 1]), "contrast"),
    "record-folder": (folder_at(RECORD), "record"),
    "gone": (shutil.rmtree, "record"),
    "link": (linked, "record"),
    "bus-junk": (content(BUS, b"no database" * 500), "bus"),
    "bus-cut": (cut_bus, "bus"),
    "bus-foreign": (foreign_bus, "bus"),
    "bus-folder": (folder_at(BUS), "bus"),
}  # fmt: skip
FOREIGN = (".DS_Store", "BAD NAME", ".nfs0001", "sub/healthy", "healthy.zarr")


@pytest.fixture
def root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Root]:
    """A root with a healthy dataset that has landed, damaged ones, and foreign files.

    Damaged is the dataset that a test names, if it names one, or one of each kind.
    """
    call = getattr(request.node, "callspec", None)
    named = [call.params["name"]] if call and "name" in call.params else list(DAMAGE)
    damaged = getattr(request, "param", named)
    monkeypatch.setattr(quarantine, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(quarantine, "LONGEST_PAUSE_S", 0.1)
    with closing(Root(str(tmp_path / "root"))) as made:
        for name in ("healthy", *damaged):
            create(made, DatasetDesign(HEALTHY.model_copy(update={"name": name}), {}, []))
            made.bus(name).close()
        land_all(made, "healthy")
        for name in damaged:
            DAMAGE[name][0](Path(made.url_of(name)))
        for name in FOREIGN:
            path = tmp_path / "root/catalogue" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
        yield made


def land_all(root: Root, name: str) -> None:
    """Land raw and the prediction of a dataset: a ball of an organelle."""
    z, y, x = np.indices(GRID.extent)
    inside = (z - 8) ** 2 + (y - 4) ** 2 + (x - 4) ** 2 < 12
    with root.open(name) as (_, site):
        for index in GRID.indices():
            voxels = np.where(inside, 255, 0).astype(np.uint8)[GRID.box(index).slices()]
            drive(land(site, index, voxels, "uint8", None))
            drive(land(site, index, voxels, "uint8", None, stage="stored/mito",
                       name="predictions/mito"))  # fmt: skip


@pytest.fixture
def hosts(root: Root) -> Iterator[list[PlannerHost | WorkerHost]]:
    """A planner and a worker of every service, in this process."""
    with ExitStack() as held:
        services = registry.services()
        made: list[PlannerHost | WorkerHost] = [
            held.enter_context(closing(PlannerHost(s, root, SETTINGS))) for s in services
        ]
        made += [
            held.enter_context(closing(WorkerHost(s, root, SETTINGS, f"host:{n}")))
            for n, s in enumerate(services)
        ]
        yield made


class Active:
    """The context of a call whose client is there."""

    def is_active(self) -> bool:
        return True


CONTEXT: Any = Active()


def until(hosts: list[PlannerHost | WorkerHost], done: Callable[[], bool]) -> None:
    """Let all processes take turns until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        for host in hosts:
            host.turn()
        assert time.monotonic() < deadline


def servicer(root: Root) -> IngestServicer:
    design: Any = None
    return IngestServicer(root, design)


def watched(root: Root, name: str) -> pb.WatchDatasetResponse:
    request = pb.WatchDatasetRequest(dataset=name)
    return next(servicer(root).WatchDataset(request, CONTEXT))


def completed(root: Root, name: str) -> Callable[[], bool]:
    """Return what says whether a dataset is complete, by one reader that follows it."""
    site = Site(name, Store(root.files(name), GRID), root.bus(name))
    follower = servicer(root)._follower(root.dataset(name), site)

    def look() -> bool:
        follower.poll(GRID)
        return follower.complete

    return look


def left_alone(root: Root) -> dict[str, str]:
    answer = servicer(root).ListDatasets(pb.ListDatasetsRequest(), CONTEXT)
    return {each.name: each.reason for each in answer.quarantined}


def test_each_damaged_dataset_is_named_and_can_be_deleted_and_the_healthy_one_is_served(
    root: Root, hosts: list[PlannerHost | WorkerHost], caplog: pytest.LogCaptureFixture
) -> None:
    until(hosts, completed(root, "healthy"))
    until(hosts, lambda: left_alone(root).keys() == {*DAMAGE, *FOREIGN})
    found = left_alone(root)
    for name, (_, word) in DAMAGE.items():
        assert word in found[name] and "\n" not in found[name], (name, found[name])
        with pytest.raises(WrongUse):
            watched(root, name)
    planners = hosts[: len(hosts) // 2]
    others = {"unknown", "settings", "contact"}  # what ingest does has nothing to do with these
    assert all({"healthy"} <= host.loops.keys() <= {"healthy", *others} for host in planners)
    lines = [line for line in caplog.messages if line.startswith("dataset beyond is left alone")]
    assert 0 < len(lines) <= len(hosts)  # once for each process, not with every attempt
    with closing(AnalysisServicer(root, SETTINGS)) as analysis:
        request = analysis_pb2.DescribeRequest(dataset="healthy")
        (table,) = analysis.Describe(request, CONTEXT).tables
    assert (table.rows, table.final) == (1, True)
    for name in (*DAMAGE, *FOREIGN):
        servicer(root).DeleteDataset(pb.DeleteDatasetRequest(dataset=name), CONTEXT)
    until(hosts, lambda: left_alone(root) == {})
    local = root.local
    assert local is not None and root.names() == ["healthy"]
    assert {path.name for path in local.iterdir()} == {".fibstream", "catalogue", "healthy.zarr"}
    until(hosts, completed(root, "healthy"))


@pytest.mark.parametrize("name", ["words", "gone", "link", "bus-cut", "bus-foreign"])
def test_one_that_is_mended_is_served_again(
    root: Root, hosts: list[PlannerHost | WorkerHost], name: str
) -> None:
    until(hosts, lambda: name in left_alone(root))
    folder = Path(root.url_of(name))
    if name.startswith("bus"):
        bus_path(folder).unlink()
    else:
        if folder.is_symlink():
            folder.unlink()
        record_ = canonical(HEALTHY.model_copy(update={"name": name}).model_dump(mode="json"))
        (folder / RECORD).parent.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_bytes(record_)
    land_all(root, name)
    until(hosts, completed(root, name))
    until(hosts, lambda: name not in left_alone(root))
    assert watched(root, name).quarantined == ""


@pytest.mark.parametrize("root", [["words"]], indirect=True)
def test_a_dataset_whose_folder_goes_while_it_is_served_is_named(
    root: Root, hosts: list[PlannerHost | WorkerHost]
) -> None:
    until(hosts, completed(root, "healthy"))
    shutil.rmtree(root.url_of("healthy"))
    until(hosts, lambda: "healthy" in left_alone(root))
    assert all("healthy" not in host.loops for host in hosts)


@pytest.mark.parametrize("root", [["words"]], indirect=True)
def test_a_bus_that_is_damaged_while_it_is_served_is_left_alone(
    root: Root, hosts: list[PlannerHost | WorkerHost]
) -> None:
    until(hosts, completed(root, "healthy"))
    path = bus_path(Path(root.url_of("healthy")))
    for part in path.parent.glob("bus.sqlite*"):
        part.write_bytes(b"no database" * 3000)
    until(hosts, lambda: "healthy" in left_alone(root))


@pytest.mark.parametrize("name", ["no-json", "record-folder", "another", "bus-junk", "link"])
def test_a_damaged_dataset_is_deleted_by_its_path(root: Root, name: str) -> None:
    folder = Path(root.url_of(name))
    delete_folder(folder)
    assert not folder.exists() and not folder.is_symlink()
    assert name not in root.names() and "healthy" in root.names()
    assert Path(root.url_of("healthy")).is_dir()


@pytest.mark.parametrize("root", [["words"]], indirect=True)
def test_what_is_no_dataset_is_not_deleted(root: Root, tmp_path: Path) -> None:
    (tmp_path / "root/photos.zarr").mkdir()
    with pytest.raises(WrongUse, match="photos"):
        delete_folder(tmp_path / "root/photos.zarr")
    for name in ("nowhere", "../root", ".DS_Store/..", "sub"):
        with pytest.raises(WrongUse):
            servicer(root).DeleteDataset(pb.DeleteDatasetRequest(dataset=name), CONTEXT)
    assert set(FOREIGN) <= left_alone(root).keys()
