"""``--downsample`` gives what the averaged volume gives, and truth of the finer one is met."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fibstream.app.facts import provenance
from fibstream.core.pyramid import windows_mean
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.downsampled import windows_mode

from ..support.command import inside
from ..support.scene import SHAPE, blobs, save

FINE = (72, 88, 104)


def read(path: Path) -> NDArray[Any]:
    return np.asarray(zarr.open_array(path, mode="r")[:])


def test_run_and_predict_average_first(scene, tmp_path) -> None:
    fine = blobs(shape=FINE, places=[(18, 18, 18, 12, 0)])
    raw, coarse = save(tmp_path / "fine.npz", fine, 4.0), windows_mean(fine, (2, 2, 2))
    given = ("--downsample", "2")
    for name, path, more in (
        ("a", raw, given), ("b", save(tmp_path / "coarse.npz", coarse), ("--chunk", "36,36,52")),
    ):  # fmt: skip
        answer = inside(*scene.run(tmp_path / name, *more, "--bus", "memory:", raw=path))
        assert answer.code == 0, answer.err
        if name == "a":
            expected = answer.hashes
    assert answer.hashes == expected
    dataset = read_dataset(LocalFiles(tmp_path / "a"))
    assert dataset.shape == SHAPE and dataset.voxel_size_nm == (8, 8, 8)
    assert dataset.offset_nm == (2, 2, 2) and dataset.downsample == (2, 2, 2)
    source = dict(provenance(dataset, "none", "fine.npz"))["source"]
    assert source == "fine.npz; every voxel is the mean of 2 x 2 x 2 voxels of 4 nm"
    group = json.loads((tmp_path / "a/labels/mito/zarr.json").read_text())
    levels = group["attributes"]["ome"]["multiscales"][0]["datasets"]
    shifts = [level["coordinateTransformations"][1]["translation"] for level in levels]
    assert shifts == [[2, 2, 2], [6, 6, 6]]
    out = tmp_path / "p.zarr"
    answer = inside("predict", "--raw", raw, "--model", scene.model, "--out", out, *given)
    assert answer.code == 0, answer.err
    for name in ("predictions/mito/s0", "predictions/mito/s1"):
        paths = (out / name, tmp_path / "a" / name)
        one, two = (read(path) for path in paths)
        assert np.array_equal(one, two)
    # The finer volume's labels are met voxel by voxel.
    np.save(tmp_path / "truth.npy", fine > 127)
    answer = inside("evaluate", "--truth", tmp_path / "truth.npy", "--voxel-size-nm", 4, "--test",
                    tmp_path / "a#labels/mito", "--out", tmp_path / "s.json")  # fmt: skip
    assert answer.code == 0, answer.err
    found = read(tmp_path / "a/labels/mito/s0") > 0
    grown = found.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    both = np.count_nonzero(grown & (fine > 127))
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["tp"] == both and scores["fp"] == np.count_nonzero(grown) - both
    answer = inside(*scene.run(tmp_path / "a", "--bus", "memory:", raw=raw))
    assert answer.code == 2 and "does not fit" in answer.err and "--downsample 2,2,2" in answer.err


def test_stored_predictions_may_have_the_finer_voxels(tmp_path) -> None:
    """In processes of their own: what lands is read again by another program."""
    fine = blobs(shape=(24, 24, 24), places=[(9, 9, 9, 6, 0)])
    raw = save(tmp_path / "fine.npz", fine, 4.0)
    labels = (fine > 127).astype(np.uint8) * 3
    np.savez(tmp_path / "labels.npz", raw=labels, voxel_size_nm_zyx=[4.0] * 3)
    np.savez(tmp_path / "small.npz", raw=windows_mode(labels, (2, 2, 2)),
             voxel_size_nm_zyx=[8.0] * 3)  # fmt: skip
    arrays = []
    for name in ("labels", "small"):
        pipeline = tmp_path / f"{name}.yaml"
        pipeline.write_text(
            f"predictions: [{{name: er, from: {tmp_path / name}.npz, as: distance}}]\n"
            "organelles: [{name: er, recipe: generic}]\n"
        )
        out = tmp_path / f"{name}.zarr"
        bus = () if name == "labels" else ("--bus", "memory:")
        answer = inside("run", "--raw", raw, "--pipeline", pipeline, "--out", out,
                        "--downsample", 2, "--json", *bus)  # fmt: skip
        assert answer.code == 0, answer.err
        arrays.append(read(out / "predictions/er/s0"))
    assert np.array_equal(arrays[0], arrays[1]) and arrays[0].shape == (12, 12, 12)
