"""The commands without services give, bit for bit, what ``run`` gives."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorstore
import tifffile
import zarr

from fibstream.app.engines import make_engine
from fibstream.app.reference import labels_of, prediction_of
from fibstream.services.analysis.table import rows_hash
from fibstream.services.refine.recipes.generic import GenericSettings, object_rule
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..inference.net import write_net
from ..support.command import inside
from ..support.scene import CHUNK, GEOMETRY, blobs, bright, save

SET = ("--set", "min_volume_nm3=2e4")
EDGES = ("--chunk", ",".join(map(str, CHUNK)))
HEADER = (
    "Object ID,Volume (nm^3),Surface Area (nm^2),COM X (nm),COM Y (nm),COM Z (nm),"
    "MIN X (nm),MIN Y (nm),MIN Z (nm),MAX X (nm),MAX Y (nm),MAX Z (nm),,Total Objects"
)


def by_zarr(path: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(path, mode="r")[:])


def by_tensorstore(path: Path) -> np.ndarray:
    store = {"driver": "file", "path": str(path)}
    array = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()
    return np.asarray(array.read().result())


def same(here: Path, there: Path) -> bool:
    """Whether two multiscale groups hold the same levels, whoever reads them."""
    names = sorted(path.name for path in there.glob("s*"))
    assert names == sorted(path.name for path in here.glob("s*")) == ["s0", "s1"]
    return all(
        np.array_equal(read(here / name), by_zarr(there / name))
        for name in names
        for read in (by_zarr, by_tensorstore)
    )


@pytest.fixture
def predict(scene, tmp_path):
    """Predict a volume; return the prediction."""

    def run(raw: object, *more: object) -> np.ndarray:
        out = tmp_path / "prediction.zarr"
        answer = inside("predict", "--raw", raw, "--model", scene.model, "--out", out, *more)
        assert answer.code == 0, answer.err
        return by_zarr(out / "predictions/mito/s0")

    return run


def test_predict_refine_measure_one_after_the_other(scene, finished, tmp_path) -> None:
    out, table = tmp_path / "a.zarr", tmp_path / "mito.parquet"
    to_labels = ("--organelle", "mito", "--out", out, *SET, *EDGES)
    steps = (
        ["predict", "--raw", scene.raw, "--model", scene.model, "--out", out, *EDGES],
        ["refine", "--prediction", f"mito={out}", *to_labels],
        ["measure", "--labels", out, "--raw", scene.raw, "--out", table],
    )
    for step in steps:
        answer = inside(*step)
        assert answer.code == 0, answer.err
    assert same(out / "predictions/mito", finished / "predictions/mito")
    assert same(out / "labels/mito", finished / "labels/mito")
    assert rows_hash(pq.read_table(table)) == rows_hash(
        pq.read_table(finished / "tables/mito.parquet")
    )
    assert sorted(p.name for p in out.iterdir()) == ["labels", "predictions", "zarr.json"]


def test_a_threshold_is_in_the_scale_of_the_network_that_predicted(scene, tmp_path) -> None:
    out, given = tmp_path / "a.zarr", ("--set", "threshold_nm=10")
    net = write_net(tmp_path / "net.onnx", body=bright, channels=1, **GEOMETRY, scale_nm=30)
    for step in (
        ["predict", "--raw", scene.raw, "--model", net, "--out", out],
        ["refine", "--prediction", f"mito={out}", "--organelle", "generic", "--out", out, *given],
    ):
        answer = inside(*step)
        assert answer.code == 0, answer.err
    settings = GenericSettings(threshold_nm=10)
    expected, other = (
        labels_of(by_zarr(out / "predictions/mito/s0"), object_rule(settings, (8, 8, 8), squash_nm))
        for squash_nm in (30, 50)
    )
    assert np.array_equal(by_zarr(out / "labels/generic/s0"), expected)
    assert not np.array_equal(expected, other)


def test_refine_and_measure_take_a_dataset_of_run(finished, tmp_path) -> None:
    out = tmp_path / "labels.zarr"
    answer = inside(
        "refine", "--prediction", f"mito={finished}", "--organelle", "mito", "--out", out, *SET,
        "--chunk", "36,11,52",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert np.array_equal(by_zarr(out / "labels/mito/s0"), by_zarr(finished / "labels/mito/s0"))
    answer = inside("measure", "--labels", f"{finished}#labels/mito", "--out", tmp_path / "t.csv")
    assert answer.code == 0, answer.err
    ids = pq.read_table(finished / "tables/mito.parquet")["id"].to_pylist()
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", *map(str, ids)]


def test_the_columns_of_the_paper(finished, tmp_path) -> None:
    out = tmp_path / "t.csv"
    labels = f"{finished}#labels/generic"
    assert inside("measure", "--labels", labels, "--out", out, "--profile", "cosem").code == 0
    header, *lines = out.read_text().splitlines()
    assert header == HEADER
    table = pq.read_table(finished / "tables/generic.parquet").to_pylist()
    assert len(lines) >= len(table)
    volumes = sorted(float(line.split(",")[1]) for line in lines if line.split(",")[1])
    assert volumes == sorted(row["volume_nm3"] for row in table)


def test_evaluate(finished, tmp_path) -> None:
    out = tmp_path / "scores.json"
    labels = [f"{finished}#labels/{name}/s0" for name in ("generic", "mito")]
    answer = inside("evaluate", "--truth", labels[0], "--test", labels[1], "--instances",
                    "--out", out)  # fmt: skip
    assert answer.code == 0, answer.err
    truth, test = (by_zarr(finished / "labels" / n / "s0") > 0 for n in ("generic", "mito"))
    both = np.count_nonzero(truth & test)
    scores = json.loads(out.read_text())
    assert scores["dice"] == 2 * both / (truth.sum() + test.sum())
    assert scores["precision"] == both / test.sum() and scores["recall"] == both / truth.sum()
    assert scores["iou"] == both / np.count_nonzero(truth | test)
    # Both recipes find the same nine objects: the scores of objects differ from those of voxels.
    assert scores["instances"]["tp"] == 9 and scores["instances"]["precision"] == 1.0
    np.save(tmp_path / "mask.npy", (truth > 0).astype(np.uint8))
    answer = inside("evaluate", "--truth", tmp_path / "mask.npy", "--test", labels[1],
                    "--instances", "--out", out)  # fmt: skip
    assert answer.code == 0 and "its 9 connected pieces are compared" in answer.err
    assert json.loads(out.read_text())["instances"]["tp"] == 9
    answer = inside("evaluate", "--truth", labels[1], "--test", f"{finished}#predictions/mito/s0",
                    "--threshold", "127", "--out", out)  # fmt: skip
    assert answer.code == 0 and json.loads(out.read_text())["recall"] > 0.9


def test_any_format_gives_the_same(finished, scene, tmp_path, predict) -> None:
    expected = by_zarr(finished / "predictions/mito/s0")
    raw = blobs()
    tiff, npy, plain = (tmp_path / name for name in ("v.tif", "v.npy", "v.zarr"))
    size = {"spacing": 8.0, "unit": "nm"}
    tifffile.imwrite(tiff, raw, imagej=True, resolution=(1 / 8.0, 1 / 8.0), metadata=size)
    np.save(npy, raw)
    zarr.create_array(plain, data=raw, chunks=(16, 16, 16))
    given = ("--voxel-size-nm", "8")
    for path, more in ((tiff, ()), (npy, given), (plain, given), (finished, ())):
        assert np.array_equal(predict(path, *more), expected), path


def test_uint16_inverted_and_automatic_contrast(finished, scene, tmp_path, predict) -> None:
    expected = by_zarr(finished / "predictions/mito/s0")
    wide = save(tmp_path / "wide.npz", blobs().astype(np.uint16) * 257)
    assert np.array_equal(predict(wide, "--contrast", "0,65535"), expected)
    negative = save(tmp_path / "negative.npz", 255 - blobs())
    assert np.array_equal(predict(negative, "--invert"), expected)
    data = blobs()[blobs() > 1]  # its darkest value is frequent and touches the rim: padding
    low, high = np.percentile(data, (0.5, 99.5), method="inverted_cdf")
    automatic = predict(scene.raw, "--contrast", "auto")
    assert np.array_equal(automatic, predict(scene.raw, "--contrast", f"{low},{high}"))
    assert not np.array_equal(automatic, expected)


def test_run_records_contrast_and_inversion(scene, finished, tmp_path) -> None:
    """A dataset of uint16, inverted: the reference with the recorded parameters agrees."""
    raw = 65535 - blobs().astype(np.uint16) * 200
    path, out = save(tmp_path / "wide.npz", raw), tmp_path / "a.zarr"
    more = ("--bus", "memory:", "--contrast", "auto", "--invert")
    assert inside(*scene.run(out, *more, raw=path)).code == 0
    dataset = read_dataset(LocalFiles(out))
    assert dataset.invert and dataset.dtype == "uint16"
    data = raw[raw < raw.max()]  # its brightest value is frequent and touches the rim: padding
    assert dataset.contrast == tuple(np.percentile(data, (0.5, 99.5), method="inverted_cdf"))
    found = prediction_of(raw, dataset, make_engine(scene.model, 1))[0]
    assert np.array_equal(by_tensorstore(out / "predictions/mito/s0"), found)
    assert np.array_equal(by_tensorstore(out / "raw/s0"), raw)
