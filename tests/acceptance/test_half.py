"""With half of the chunks landed, what is closed is already what it will be."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tensorstore

from ..support.command import inside
from ..support.scene import blobs, save
from ..support.services import bus_of, news, rerun

ORGANELLES = ("generic", "mito")
SHAPE = (72, 30, 30)
CHUNK = "6,30,30"
HALF = 6  # of 12 chunks
# Two that are measured when half has landed (network, smoothing and faces each lag by a chunk),
# one that is cut by what has, one not seen yet.
BLOBS = ((6, 8, 8, 5, 0), (6, 21, 22, 5, 0), (23, 15, 15, 8, 0), (58, 15, 15, 6, 0))


def rows(out: Path, organelle: str) -> dict[int, dict[str, Any]]:
    table = pq.read_table(out / "tables" / f"{organelle}.parquet").to_pylist()
    return {row["id"]: row for row in table}


def labels(out: Path, organelle: str) -> np.ndarray:
    store = {"driver": "file", "path": str(out / "labels" / organelle / "s0")}
    array = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()
    return np.asarray(array[...].read().result())


def test_half_landed(scene, tmp_path) -> None:
    raw = save(tmp_path / "tall.npz", blobs(shape=SHAPE, places=BLOBS))
    final, half = tmp_path / "final.zarr", tmp_path / "half.zarr"
    run = inside(*scene.run(final, "--bus", "memory:", "--chunk", CHUNK, raw=raw))
    assert run.code == 0
    shutil.copytree(final / "provenance", half / "provenance")

    rerun(half, raw, chunks=HALF)
    with bus_of(half) as bus:
        said = news(bus)
    for organelle in ORGANELLES:
        kinds = {id_: change.kind for (name, id_), change in said.items() if name == organelle}
        closed = {id_ for id_, kind in kinds.items() if kind in ("closed", "final")}
        assert len(closed) == 2
        assert set(kinds.values()) - {"closed", "final"}, "nothing is open: this is no half"
        early, late = rows(half, organelle), rows(final, organelle)
        assert {id_: early[id_] for id_ in closed} == {id_: late[id_] for id_ in closed}
        here, there = labels(half, organelle), labels(final, organelle)
        assert all(np.array_equal(here == id_, there == id_) for id_ in closed)

    report, _ = rerun(half, raw)
    assert (report.labels_hash, report.tables_hash) == run.hashes
