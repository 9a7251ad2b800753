"""`fibstream phantom`: what is written is what the phantom is, in any chunks."""

import csv
import json

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from fibstream.core.grid import Box
from fibstream.phantom import Look, Phantom, PhantomSpec
from fibstream.phantom.light import Errors, LightField, Network
from fibstream.volumes.sources import open_volume

from ..support.command import inside

SIZE = (40, 56, 48)


def make(out, *more):
    size = ",".join(map(str, SIZE))
    return inside("phantom", "--out", out, "--size", size, "--voxel-size-nm", "8", *more)


def test_what_is_written_is_the_phantom_whatever_the_chunks(tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    answer = make(out, "--seed", "5", "--organelles", "mito,er", "--chunk", "24,32,40")
    assert answer.code == 0, answer
    assert answer.out.split() == [
        str(out / name) for name in ("raw", "labels/fine", "labels/mito", "labels/er")
    ]
    phantom = Phantom(PhantomSpec(SIZE, (8.0,) * 3, 5, ("mito", "er")))
    whole = Box((0, 0, 0), SIZE)
    wanted: dict[str, np.ndarray] = {
        "raw": phantom.micrograph(whole), "labels/fine": phantom.labels(whole),
        "labels/mito": phantom.instances("mito", whole),
        "labels/er": phantom.instances("er", whole),
    }  # fmt: skip
    for name, voxels in wanted.items():
        source = open_volume(f"{out}/{name}", kind="labels")
        assert source.voxel_size_nm == (8, 8, 8)
        assert np.array_equal(source.read(whole), voxels), name
    truth = json.loads((out / "truth.json").read_text())
    assert truth["spec"]["seed"] == 5
    assert {thing["kind"] for thing in truth["things"]} >= {"mito"}
    assert len(truth["lines"]) == len(phantom.lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--size", "0"), "--size '0'"),
        (("--size", "20000"), "20000"),
        (("--size", "4"), "nm"),
        (("--seed", "-1"), "seed -1"),
        (("--organelles", "mito,bones"), "--organelles bones"),
        (("--look", "nice"), "--look nice"),
        (("--voxel-size-nm", "100"), "100"),
        (("--chunk", "600"), "--chunk 600"),
        (("--jitter", "17"), "jitter 17"),
        (("--missing", "1,x"), "--missing 1,x"),
        (("--missing", "40"), "missing slices [40]"),
        (("--light", "xray"), "--light xray"),
        (("--light", "sim", "--organelles", "mito"), "er among --organelles"),
        (("--warp", "twist"), "--warp twist"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(tmp_path, flags, message) -> None:
    answer = make(tmp_path / "cell.zarr", *flags)
    assert answer.code == 2 and message in answer.err, answer
    assert len(answer.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def spline_of(known, points):
    """Evaluate the spline of a transform file with another program."""
    at = ((points - known["origin_nm"]) / np.array(known["spacing_nm"])).T
    lattice = np.array(known["coefficients_nm"])
    return np.stack([
        map_coordinates(lattice[..., k], at, order=3, prefilter=False, mode="grid-constant")
        for k in range(3)
    ], axis=1)  # fmt: skip


@pytest.mark.parametrize("warp", ["bspline", "cos7-palm"])
def test_light_channels_come_with_their_transform(tmp_path, warp) -> None:
    out = tmp_path / "cell.zarr"
    flags = ("--seed", "4", "--light", "sim,palm", "--warp", warp, "--size", "64,96,96")
    answer = make(out, "--voxel-size-nm", "16", *flags)
    assert answer.code == 0, answer
    phantom = Phantom(PhantomSpec((64, 96, 96), (16.0,) * 3, 4))
    for modality, voxel in (("sim", (125, 40, 40)), ("palm", (104, 52, 52))):
        field = LightField(phantom, modality, warp)
        for channel in ("mito", "er"):
            source = open_volume(f"{out}/lm/{modality}_{channel}", kind="raw")
            assert source.voxel_size_nm == voxel and source.shape == field.shape
            box = Box((0, 0, 0), field.shape)
            assert np.array_equal(source.read(box), field.counts(channel, box))
    prediction = open_volume(f"{out}/predictions/mito_membrane", kind="prediction")
    wanted = Network(phantom, Errors()).predict("mito_membrane", phantom.box())
    assert np.array_equal(prediction.read(phantom.box()), wanted)
    transform = json.loads((out / "light.json").read_text())["transform"]
    matrix, offset = (np.array(transform["affine"][k]) for k in ("matrix", "offset_nm"))
    with (out / "landmarks.csv").open() as file:
        rows = [[float(v) for k, v in row.items() if k != "name"] for row in csv.DictReader(file)]
    em, light = np.hsplit(np.array(rows), 2)
    assert len(rows) >= 3
    if warp == "bspline":
        moved = em + spline_of(transform["deformation"], em)
        assert np.abs(moved @ matrix.T + offset - light).max() < 0.01
    else:  # its formula runs the other way
        flat = np.linalg.solve(matrix, (light - offset).T).T
        assert np.abs(flat + spline_of(transform["deformation"], flat) - em).max() < 0.01


def test_slices_are_displaced_and_lost_on_demand(tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    answer = make(out, "--seed", "5", "--organelles", "mito", "--jitter", "2", "--missing", "7,11")
    assert answer.code == 0, answer
    look = Look(jitter=2.0, missing=(7, 11))
    phantom = Phantom(PhantomSpec(SIZE, (8.0,) * 3, 5, ("mito",), look))
    raw = open_volume(f"{out}/raw", kind="raw").read(phantom.box())
    assert np.array_equal(raw, phantom.micrograph(phantom.box()))
    assert not raw[7].any() and not raw[11].any() and raw[8].any()


def test_a_second_phantom_takes_the_place_of_the_first_with_its_truth(tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    assert make(out, "--seed", "5", "--organelles", "mito").code == 0
    assert make(out, "--seed", "6", "--organelles", "mito").code == 0
    assert json.loads((out / "truth.json").read_text())["spec"]["seed"] == 6


def test_another_run_does_not_write_over_a_dataset(tmp_path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    answer = make(tmp_path)
    assert answer.code == 2 and "not a Zarr group" in answer.err
