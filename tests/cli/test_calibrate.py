"""``fibstream calibrate``: a network that runs in int8, by real data; and what it refuses."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import zarr

from fibstream.services.inference.backend import MAX_LEVELS

from ..inference.net import write_net
from ..inference.test_int8 import calm, noise
from ..support.command import Answer, inside
from ..support.scene import save


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_net(tmp_path / "cells.onnx", body=calm)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return save(tmp_path / "volume.npz", noise(3, 40))


def calibrate(model: Path, raw: Path, out: Path, *more: object) -> Answer:
    return inside("calibrate", model, "--raw", raw, "--out", out, *more)


def predicted(model: Path, raw: Path, out: Path, *more: object) -> np.ndarray:
    answer = inside("predict", "--raw", raw, "--model", model, "--out", out, *more)
    assert answer.code == 0, answer.err
    return np.asarray(zarr.open_array(out / "predictions/mito/s0", mode="r")[:])


def told(path: Path) -> dict:
    properties = {p.key: p.value for p in onnx.load(path).metadata_props}
    return json.loads(properties["fibstream-calibration"])


def test_a_calibrated_network_runs_in_int8_and_in_fp32_as_before(model, raw, tmp_path) -> None:
    out = tmp_path / "int8.onnx"
    answer = calibrate(model, raw, out, "--tiles", "5", "--seed", "3")
    assert answer.code == 0, answer.err
    assert answer.out.strip() == f"{out}: int8 by 3 ranges, of 5 tiles of volume.npz"
    found = told(out)
    assert (found["volume"], found["tiles"], found["seed"]) == ("volume.npz", 5, 3)
    assert str(tmp_path) not in json.dumps(found)  # a name, no place
    exact = predicted(model, raw, tmp_path / "a.zarr", "--backend", "onnxruntime")
    same = predicted(out, raw, tmp_path / "b.zarr", "--backend", "onnxruntime")
    near = predicted(out, raw, tmp_path / "c.zarr", "--precision", "int8")
    again = predicted(out, raw, tmp_path / "d.zarr", "--precision", "int8", "--chunk", "9,13,40")
    assert np.array_equal(exact, same) and np.array_equal(near, again)
    off = np.abs(exact.astype(int) - near)
    assert 0 < off.max() <= MAX_LEVELS and off.mean() < 2
    weights = [onnx.load(p).graph.SerializeToString() for p in (model, out)]
    assert weights[0] == weights[1]


def test_the_same_call_writes_the_same_file_and_another_seed_another(model, raw, tmp_path) -> None:
    files = [tmp_path / f"{n}.onnx" for n in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        assert calibrate(model, raw, file, "--tiles", "3", "--seed", seed).code == 0
    one, two, three = (file.read_bytes() for file in files)
    assert one == two != three
    again = tmp_path / "again.onnx"  # in place of the first calibration
    assert calibrate(files[2], raw, again, "--tiles", "3").code == 0
    assert told(again) == told(files[0])


def test_a_network_sees_the_volume_by_its_flags(model, raw, tmp_path) -> None:
    out, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    assert calibrate(model, raw, out).code == 0
    inverse = save(tmp_path / "inverse.npz", 3 * (255 - noise(3, 40).astype(np.uint16)))
    answer = calibrate(model, inverse, other, "--contrast", "0,765", "--invert")
    assert answer.code == 0, answer.err
    a, b = told(out), told(other)
    assert a["sha256"] == b["sha256"] and a["ranges"] == b["ranges"]
    assert (b["contrast"], b["inverted"]) == ([0, 765], True)


def test_a_volume_smaller_than_a_tile_is_reflected_as_in_a_prediction(model, tmp_path) -> None:
    small = save(tmp_path / "small.npz", noise(3, 5))
    assert calibrate(model, small, tmp_path / "a.onnx").code == 0
    assert told(tmp_path / "a.onnx")["tiles"] == 1


def test_places_that_were_never_imaged_are_left_out(model, tmp_path) -> None:
    half = noise(3, 40)
    half[20:] = 0
    volume = save(tmp_path / "half.npz", half)
    assert calibrate(model, volume, tmp_path / "a.onnx", "--tiles", "20").code == 0
    given = ("--tiles", "20", "--absent-value", "0")
    assert calibrate(model, volume, tmp_path / "b.onnx", *given).code == 0
    assert told(tmp_path / "b.onnx")["tiles"] < 20
    assert told(tmp_path / "b.onnx")["sha256"] != told(tmp_path / "a.onnx")["sha256"]


def test_places_that_a_mask_leaves_out_are_not_seen(model, raw, tmp_path) -> None:
    mask = np.ones(noise(3, 40).shape, np.uint8)
    mask[:, 20:] = 0
    given = ("--tiles", "20", "--absent-mask", save(tmp_path / "mask.npz", mask))
    assert calibrate(model, raw, tmp_path / "a.onnx", "--tiles", "20").code == 0
    assert calibrate(model, raw, tmp_path / "b.onnx", *given).code == 0
    assert 0 < told(tmp_path / "b.onnx")["tiles"] < told(tmp_path / "a.onnx")["tiles"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--tiles", "0"), "--tiles 0: expected 1 to 1024"),
        (("--tiles", "1025"), "--tiles 1025: expected 1 to 1024"),
        (("--seed", "-1"), "--seed -1: expected a whole number from 0 on"),
        (("--voxel-size-nm", "4"), "voxel size 4 x 4 x 4 nm does not fit model cells"),
        (("--contrast", "9"), "--contrast 9: expected LOW,HIGH or auto"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(model, raw, tmp_path, more, message) -> None:
    if more[0] == "--voxel-size-nm":
        raw = save(tmp_path / "plain.npz", noise(3, 40), None)
    answer = calibrate(model, raw, tmp_path / "out.onnx", *more)
    assert answer.code == 2 and message in answer.err and answer.err.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


def test_wrong_files_are_refused_in_one_line(model, raw, tmp_path) -> None:
    answer = calibrate(model, raw, tmp_path / "out.pt")
    assert answer.code == 2 and "expected FILE.onnx" in answer.err
    answer = calibrate(tmp_path / "none.onnx", raw, tmp_path / "out.onnx")
    assert answer.code == 2 and "not found" in answer.err
    grey = save(tmp_path / "grey.npz", np.full((40, 40, 40), 7, np.uint8))
    answer = calibrate(model, grey, tmp_path / "out.onnx", "--tiles", "2")
    assert answer.code == 2 and "2 tiles that were tried are of one grey value" in answer.err
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".npz", ".npz", ".onnx"]


def test_int8_of_a_network_that_is_not_calibrated_is_refused(model, raw, tmp_path) -> None:
    answer = inside("predict", "--raw", raw, "--model", model, "--out", tmp_path / "a.zarr",
                    "--precision", "int8")  # fmt: skip
    assert answer.code == 2 and "make it with `fibstream calibrate`" in answer.err
    assert not (tmp_path / "a.zarr").exists()
