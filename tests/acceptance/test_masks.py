"""A mask of what was imaged: decided voxel by voxel, and the same for any chunk."""

import re

import numpy as np
import pytest

from fibstream.app.reference import absent_of
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..support.command import apart, inside
from ..support.scene import SHAPE, VOXEL_NM, blobs, whole
from .test_unimaged import by_zarr

RAGGED = np.random.default_rng(3).random(SHAPE) < 0.995  # single voxels count, too
RAGGED[:, :13, 9:30] = False
RAGGED[22] = False


def saved(path, mask, **more):
    np.savez(path, labels=mask, voxel_size_nm_zyx=np.broadcast_to(VOXEL_NM, 3), **more)
    return path


@pytest.fixture(scope="module")
def ragged(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("mask") / "mask.npz", RAGGED)


def run(scene, out, *more):
    return inside(*scene.run(out, "--bus", "memory:", *more))


def test_two_shapes_of_chunks_give_the_whole_volume(scene, ragged, tmp_path) -> None:
    found = []
    for chunk in ("17,13,19", "8,44,26"):
        out = tmp_path / f"{chunk}.zarr"
        answer = run(scene, out, "--chunk", chunk, "--order", "random", "--absent-mask", ragged)
        assert (answer.code, answer.report["failed"]) == (0, [])
        found.append(answer.hashes)
    assert found[0] == found[1] == whole(blobs(), out, RAGGED.astype(np.uint8))
    assert np.array_equal(by_zarr(out / "mask/s0"), RAGGED)
    assert not by_zarr(out / "labels/generic/s0")[~RAGGED].any()
    assert absent_of(blobs(), read_dataset(LocalFiles(out)), RAGGED.astype(np.uint8)).any()


def test_processes_and_predict_read_the_same_mask(scene, ragged, tmp_path) -> None:
    answer = apart(*scene.run(tmp_path / "a.zarr", "--absent-mask", ragged))
    assert answer.hashes == whole(blobs(), tmp_path / "a.zarr", RAGGED.astype(np.uint8))
    answer = inside("predict", "--raw", scene.raw, "--model", scene.model, "--chunk", "9,20,52",
                    "--out", tmp_path / "p.zarr", "--absent-mask", ragged)  # fmt: skip
    assert answer.code == 0, answer.err
    one, other = (by_zarr(tmp_path / f"{name}.zarr/predictions/mito/s0") for name in "ap")
    assert np.array_equal(one, other)


def test_a_mask_is_what_the_painted_value_would_be(scene, tmp_path) -> None:
    squares = np.ones(SHAPE, np.uint8)
    squares[:, 5:20, 9:30] = squares[22] = squares[3:12, 30:38, 40] = 0
    painted = np.where(squares == 0, 255, np.minimum(blobs(), 254)).astype(np.uint8)
    raw = tmp_path / "raw.npz"
    for path, volume in ((raw, np.minimum(blobs(), 254)), (tmp_path / "painted.npz", painted)):
        np.savez(path, raw=volume, voxel_size_nm_zyx=np.broadcast_to(VOXEL_NM, 3))
    mask = saved(tmp_path / "mask.npz", squares * np.uint8(255))
    flags = ("--bus", "memory:", "--absent-mask", mask)
    one = inside(*scene.run(tmp_path / "a.zarr", *flags, raw=raw))
    value = ("--bus", "memory:", "--absent-value", 255)
    other = inside(*scene.run(tmp_path / "b.zarr", *value, raw=tmp_path / "painted.npz"))
    assert one.hashes == other.hashes


def test_a_mask_that_is_all_imaged_changes_nothing(scene, tmp_path) -> None:
    mask = saved(tmp_path / "mask.npz", np.ones(SHAPE, bool))
    assert (
        run(scene, tmp_path / "a.zarr", "--absent-mask", mask).hashes
        == run(scene, tmp_path / "b.zarr").hashes
    )


WRONG = {
    "three values": (RAGGED * np.uint8(2), "holds 0, 2: expected 0 where"),
    "both": (RAGGED * np.where(np.arange(52) < 9, 1, 255), "holds 1, 255|holds 0, 1, 255"),
    "shape": (RAGGED[1:], "absent mask must fit raw: .* expected the same"),
    "floats": (RAGGED.astype(np.float32), "has dtype float32"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_mask_of_the_volume_is_refused(scene, tmp_path, name) -> None:
    values, message = WRONG[name]
    mask = saved(tmp_path / "mask.npz", values)
    for answer in (
        run(scene, tmp_path / "a.zarr", "--absent-mask", mask),
        inside("predict", "--raw", scene.raw, "--model", scene.model, "--out",
               tmp_path / "p.zarr", "--absent-mask", mask),
    ):  # fmt: skip
        assert answer.code == 2
        assert re.search(message, answer.err.splitlines()[-1]), answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["mask.npz"]
