"""Areas that were never imaged: declared by their value, and the same for any chunk."""

import numpy as np
import pytest

from fibstream.app.reference import absent_of
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..support.command import inside
from ..support.scene import blobs, save, whole

VALUE = 255


def framed() -> np.ndarray:
    """The blobs in a frame that moves, with a lost slice and single voxels of the same value."""
    raw = np.minimum(blobs(), VALUE - 1)
    for z, one in enumerate(raw):
        one[: z // 4] = VALUE
        one[:, : 14 - z // 3] = VALUE
    raw[22] = VALUE
    raw.flat[:: raw.size // 40] = VALUE
    return raw


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return save(tmp_path_factory.mktemp("frame") / "frame.npz", framed())


def test_two_shapes_of_chunks_give_the_whole_volume(scene, frame, tmp_path) -> None:
    found = []
    for chunk in ("17,13,19", "8,44,26"):
        out = tmp_path / f"{chunk}.zarr"
        answer = inside(*scene.run(
            out, "--bus", "memory:", "--chunk", chunk, "--order", "random",
            "--absent-value", VALUE, raw=frame,
        ))  # fmt: skip
        assert (answer.code, answer.report["failed"]) == (0, [])
        assert "give --absent-value" not in answer.err
        found.append(answer.hashes)
    assert found[0] == found[1] == whole(framed(), out)
    dataset = read_dataset(LocalFiles(out))
    assert dataset.absent_value == VALUE
    absent = absent_of(framed(), dataset)
    assert 0.1 < absent.mean() < 0.5
    assert (absent != (framed() == VALUE)).sum() > 20  # single voxels in tissue are not absent


def test_undeclared_areas_are_told_once_and_change_nothing(scene, frame, tmp_path) -> None:
    answer = inside(*scene.run(tmp_path / "a.zarr", "--bus", "memory:", raw=frame))
    assert answer.err.count("are areas of the one value 255") == 1
    assert "give --absent-value 255" in answer.err
    assert answer.hashes == whole(framed(), tmp_path / "a.zarr")


@pytest.mark.parametrize("value", ["300", "-1", "7.5", "nan", "inf"])
def test_a_value_that_no_voxel_can_have_is_refused(scene, tmp_path, value) -> None:
    for answer in (
        inside(*scene.run(tmp_path / "a.zarr", "--absent-value", value)),
        inside("predict", "--raw", scene.raw, "--model", scene.model, "--out", tmp_path / "p.zarr",
               "--absent-value", value),
        inside("create", "cell", "--shape", "9,9,9", "--voxel-size-nm", "8",
               "--absent-value", value),
    ):  # fmt: skip
        assert answer.code == 2
        assert "expected one that voxels of uint8 can have" in answer.err
    assert not list(tmp_path.iterdir())


def test_predict_is_what_run_predicts(scene, frame, tmp_path) -> None:
    flags = ("--absent-value", VALUE)
    inside(*scene.run(tmp_path / "a.zarr", "--bus", "memory:", *flags, raw=frame))
    answer = inside("predict", "--raw", frame, "--model", scene.model, "--chunk", "9,20,52",
                    "--out", tmp_path / "p.zarr", *flags)  # fmt: skip
    assert answer.code == 0, answer.err
    one, other = (by_zarr(tmp_path / f"{name}.zarr/predictions/mito/s0") for name in "ap")
    assert np.array_equal(one, other)


def by_zarr(path):
    import zarr

    return np.asarray(zarr.open_array(path, mode="r")[:])
