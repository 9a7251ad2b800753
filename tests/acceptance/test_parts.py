"""Parts, masks and a cell in a run: labels, tables and objects are those of any chunk and order."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.app.choices import unnamed
from fibstream.core.events import GONE
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Blob
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from ..support.scene import SHAPE, VOXEL_NM, save

PIPELINE = """\
predictions:
  - {{name: er, from: {0}/er.npz#raw}}
  - {{name: er_membrane, from: {0}/er_membrane.npz#raw}}
  - {{name: nucleus, from: {0}/nucleus.npz#raw}}
  - {{name: cell, from: {0}/cell.npz#raw, as: distance}}
organelles:
  - {{recipe: er-periph, from: {{cell: cell}}, set: {{expand_nm: 20}}}}
  - {{recipe: er-mem}}
  - {{recipe: er, set: {{min_volume_nm3: 1.0e+4, drop_ids: [{1}]}}}}
  - {{recipe: nucleus, set: {{min_volume_nm3: 0, smooth_nm: 0}}}}
"""
DROPPED = 3  # it is no object's: what a choice does is tested apart, too


def lumps(seed: int, share: float) -> NDArray[np.uint8]:
    """Return bytes of a prediction: smooth lumps, of which a share is inside."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(SHAPE), 2)
    inside_ = field > np.quantile(field, 1 - share)
    return np.where(inside_, 200, 40).astype(np.uint8)


VALUES = {"er": lumps(1, 0.3), "er_membrane": lumps(2, 0.4), "nucleus": lumps(3, 0.05)}
CELL = (lumps(4, 0.8) > 127).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    for name, array in (VALUES | {"cell": CELL}).items():
        save(folder / f"{name}.npz", array)
    (folder / "p.yaml").write_text(PIPELINE.format(folder, DROPPED))
    return folder


@pytest.fixture(scope="module")
def out(folder: Path) -> Path:
    run(folder, folder / "a.zarr", "20,24,28", "random")
    return folder / "a.zarr"


def run(folder: Path, out: Path, chunk: str, order: str, *more: str) -> tuple[str, ...]:
    answer = inside(
        "run", "--raw", f"{folder}/er.npz#raw", "--pipeline", folder / "p.yaml", "--out", out,
        "--chunk", chunk, "--order", order, "--json", *more,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    return tuple(answer.hashes)


def test_an_id_that_no_object_has_is_told(folder: Path, out: Path, tmp_path: Path) -> None:
    """At the end of a run, by status and by report; not while it is of an object, or not whole."""
    line = f"drop_ids: {DROPPED} is no object of er"
    status = json.loads(inside("status", out, "--json").out)
    assert status["choices"] == [line]
    assert f"\n  {line}\n" in inside("status", out).out
    assert inside("report", out, "--out", tmp_path / "page").code == 0
    assert line in (tmp_path / "page" / "report.html").read_text("utf-8")
    dataset = read_dataset(LocalFiles(out))
    assert unnamed(dataset, LocalFiles(out), most_chunks=7)[0].startswith("er: whether the ids")

    real = int(labels(out, "er").max())
    (tmp_path / "p.yaml").write_text(PIPELINE.format(folder, f"{DROPPED}, {DROPPED - 1}, {real}"))
    answer = inside(
        "run", "--raw", f"{folder}/er.npz#raw", "--pipeline", tmp_path / "p.yaml", "--out",
        tmp_path / "c.zarr", "--chunk", "36,24,28", "--bus", "memory:",
    )  # fmt: skip
    assert f"note: drop_ids: {DROPPED - 1}, {DROPPED} are no objects of er\n" in answer.err
    assert real not in labels(tmp_path / "c.zarr", "er")
    files = LocalFiles(tmp_path / "c.zarr")
    files.delete(Blob("summaries/fragments/er", (0, 0, 0)).path)
    assert unnamed(read_dataset(files), files) == []


def labels(out: Path, name: str) -> NDArray[np.uint64]:
    source = open_volume(f"{out}#labels/{name}", kind="labels")
    return source.read(read_dataset(LocalFiles(out)).grid.volume)


def test_parts_have_the_ids_of_what_they_are_of(out: Path) -> None:
    parent, nucleus = labels(out, "er"), labels(out, "nucleus") > 0
    far = ndimage.distance_transform_edt(~nucleus, VOXEL_NM) > 20
    kept = far & (CELL > 0) & (VALUES["er"] >= 127)
    assert kept.any() and not kept.all()
    assert np.array_equal(labels(out, "er-periph"), np.where(kept, parent, 0))
    membrane = VALUES["er_membrane"] >= 127
    assert np.array_equal(labels(out, "er-mem"), np.where(membrane, parent, 0))


def test_their_tables_and_objects_are_those_of_their_labels(out: Path) -> None:
    status = json.loads(inside("status", out, "--json").out)
    for name in ("er", "er-periph", "er-mem"):
        ids, voxels = np.unique(labels(out, name), return_counts=True)
        counted = dict(zip(ids[1:].tolist(), voxels[1:].tolist(), strict=True))
        table = pq.read_table(out / f"tables/{name}.parquet")
        found = zip(table["id"].to_pylist(), table["voxels"].to_pylist(), strict=True)
        assert dict(found) == counted, name
        there = {kind: n for kind, n in status["objects"][name].items() if kind not in GONE}
        assert there == {"final": len(counted)}, name


def test_results_are_those_of_any_chunk_and_order(folder: Path, out: Path) -> None:
    hashes = run(folder, folder / "b.zarr", "36,16,52", "raster", "--bus", "memory:")
    wanted = inside("verify", out, "--rebuild", "--hash")
    assert all(part in wanted.out for part in hashes)


def test_one_shot_refine_takes_a_part_and_refuses_what_it_does_not_read(
    folder: Path, out: Path, tmp_path: Path
) -> None:
    given = f"er_membrane={folder}/er_membrane.npz#raw,parent={out}#labels/er"
    made = tmp_path / "o.zarr"
    answer = inside("refine", "--prediction", given, "--organelle", "er-mem", "--out", made)
    assert answer.code == 0, answer.err
    found = open_volume(f"{made}#labels/er-mem", kind="labels")
    whole = read_dataset(LocalFiles(out)).grid.volume
    assert np.array_equal(found.read(whole), labels(out, "er-mem"))
    more = f"{given},masc={out}#labels/er"
    answer = inside(
        "refine", "--prediction", more, "--organelle", "er-mem", "--out", tmp_path / "p"
    )
    assert answer.code == 2
    assert "masc: recipe er-mem takes prediction, parent, mask, mask_2, mask_3, cell" in answer.err
