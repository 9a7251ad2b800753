"""`fibstream phantom`: what is written is what the phantom is, in any chunks."""

import json

import numpy as np
import pytest
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.services.ingest.sources import open_volume

from fibstream.grid import Box

from ..support.command import inside

SIZE = (40, 56, 48)
pytestmark = pytest.mark.timeout(600)  # the first one compiles


def make(out, *more):
    size = ",".join(map(str, SIZE))
    return inside("phantom", "--out", out, "--size", size, "--voxel-size-nm", "8", *more)


def test_what_is_written_is_the_phantom_whatever_the_chunks(tmp_path):
    out = tmp_path / "cell.zarr"
    answer = make(out, "--seed", "5", "--organelles", "mito,er", "--chunk", "24,32,40")
    assert answer.code == 0, answer
    assert answer.out.split() == [
        str(out / name) for name in ("raw", "labels/fine", "labels/mito", "labels/er")
    ]
    phantom = Phantom(PhantomSpec(SIZE, (8.0,) * 3, 5, ("mito", "er")))
    whole = Box((0, 0, 0), SIZE)
    wanted = {
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
    ("flags", "said"),
    [
        (("--size", "0"), "--size '0'"),
        (("--size", "20000"), "20000"),
        (("--size", "4"), "nm"),
        (("--seed", "-1"), "seed -1"),
        (("--organelles", "mito,bones"), "--organelles bones"),
        (("--look", "nice"), "--look nice"),
        (("--voxel-size-nm", "100"), "100"),
        (("--chunk", "600"), "--chunk 600"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(tmp_path, flags, said):
    answer = make(tmp_path / "cell.zarr", *flags)
    assert answer.code == 2 and said in answer.err, answer
    assert len(answer.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_another_run_does_not_write_over_a_dataset(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    answer = make(tmp_path)
    assert answer.code == 2 and "not a Zarr group" in answer.err
