"""A whole run is watched: the watermark only grows, and the end is known."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from fibstream.bus import wire
from fibstream.cli.inprocess import InProcess
from fibstream.cli.run import prepare
from fibstream.core.dataset import RECORD
from fibstream.core.events import ObjectChanged
from fibstream.core.keys import canonical
from fibstream.runtime.paging import MAX_PAGE
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.refine.watermark import begins
from fibstream.store.record import read_dataset
from fibstream.v1 import refine_pb2 as pb
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from ..support.patience import PATIENCE_S
from ..support.scene import SHAPE, Scene, make_scene
from .cell import EXISTING, Watch, serving


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    """A dataset of the scene, made and not yet run, below a root."""
    folder = tmp_path_factory.mktemp("root")
    scene = make_scene(folder)
    assert inside(*scene.run(folder / "cell.zarr", "--bus", "memory:")).code == 0
    return folder, scene


def test_while_chunks_land_the_watermark_only_grows_and_the_end_is_known(
    line: tuple[Path, Scene],
) -> None:
    """All services in one process on the dataset's own bus, a watcher on a connection beside."""
    folder, scene = line
    root = Root(str(folder))
    files, bus = root.files("cell"), root.bus("cell")
    dataset = read_dataset(files)
    # Every object is announced from one voxel on: then nothing can appear below the watermark.
    small = [
        o.model_copy(update={"settings": {**o.settings, "min_volume_nm3": 0}})
        for o in dataset.organelles
    ]
    dataset = dataset.model_copy(update={"organelles": tuple(small)})
    files.put(RECORD, canonical(dataset.model_dump(mode="json")))
    prepare(bus, dataset.name)
    source = open_volume(str(scene.raw), kind="raw")
    settings = Settings.model_validate({})
    runner = InProcess(cast("Any", files), cast("Any", bus), source, dataset, "raster", 0, settings)
    marks: list[Any] = []
    objects = {}
    with serving(root) as stub:
        watch = Watch(stub, "")
        turns = threading.Thread(target=lambda: [None for _ in runner.run()])
        turns.start()
        while not marks or marks[-1] != (SHAPE[0], 0):
            (news,) = watch.next()
            if isinstance(news, ObjectChanged):
                objects[news.organelle, news.id] = news
            else:
                marks.append(news)
        turns.join()
        watch.call.cancel()
        found = [
            wire.object_of(message)
            for name in ("generic", "mito")
            for message in stub.ListObjects(
                pb.ListObjectsRequest(dataset="cell", organelle=name, page_size=MAX_PAGE),
                timeout=PATIENCE_S,
            ).objects
        ]
    bus.close()
    assert [z for z, _ in marks] == sorted(z for z, _ in marks) and marks[0][0] == 0
    assert {o.kind for o in found} == {"final"} and len(found) > 10
    existing = {key for key, o in objects.items() if o.kind in EXISTING}
    assert existing == {(o.organelle, o.id) for o in found}
    assert all(begins(o.id) < SHAPE[0] for o in found)
