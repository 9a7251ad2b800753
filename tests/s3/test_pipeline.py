"""A whole pipeline on a bucket, and its results as others read them."""

import io
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import tensorstore

from fibstream.bus.memory import MemoryBus
from fibstream.cli.inprocess import InProcess
from fibstream.core.dataset import RECORD
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.table import rows_hash
from fibstream.store.local import LocalFiles
from fibstream.store.published import labels_hash, tables_hash
from fibstream.store.record import read_dataset
from fibstream.store.remote import kvstore, open_files
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from ..support.files import content
from ..support.s3 import BUCKET
from ..support.scene import SHAPE, make_scene

URL = f"s3://{BUCKET}/deep/scene.zarr"


def array(path):
    """Open an array as any program would: it knows Zarr and nothing of this project."""
    spec = {"driver": "zarr3", "kvstore": kvstore(f"{URL}/{path}")}
    return tensorstore.open(spec, open=True, read=True).result()


def test_a_pipeline_gives_the_same_on_a_bucket(s3, tmp_path) -> None:
    scene = make_scene(tmp_path)
    local = tmp_path / "local.zarr"
    there = inside(*scene.run(local, "--bus", "memory:"))
    files, folder = open_files(URL), LocalFiles(local)
    dataset = read_dataset(folder)
    for path in (RECORD, *(model.path for model in dataset.models)):
        files.put(path, content(folder, path))
    source = open_volume(str(scene.raw), kind="raw")
    settings = Settings.model_validate({})
    runner = InProcess(cast("Any", files), MemoryBus(), source, dataset, "random", 1, settings)
    for _ in runner.run():
        pass

    names = [organelle.name for organelle in dataset.organelles]
    volumes = {}
    for name in names:
        labels = array(f"labels/{name}/s0").read().result()
        assert labels.shape == SHAPE
        volumes[name] = (labels.shape, lambda box, labels=labels: labels[box.slices()])
    tables = {
        name: rows_hash(pq.read_table(io.BytesIO(content(files, f"tables/{name}.parquet"))))
        for name in names
    }
    assert (labels_hash(volumes), tables_hash(tables)) == there.hashes
    raw = np.load(scene.raw)["raw"]
    assert np.array_equal(array("raw/s0").read().result(), raw)
    part = np.s_[3:30, 5:41, 20:50]
    assert np.array_equal(array("raw/s0")[part].read().result(), raw[part])
    noted = "provenance/source.json"  # by the command alone, which knows what it read
    public = [path for path in folder.list("") if not path.startswith(".") and path != noted]
    assert list(files.list("")) == public
