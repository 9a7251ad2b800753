"""Networks whose output is finer than their input: where `predict` writes it, who refuses it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from fibstream.app.pipelines import parse_pipeline
from fibstream.app.redesign import redesign
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.inference.backend import Wanted
from fibstream.services.inference.edges.engine import CpuEngine, make_engine
from fibstream.services.inference.servicer import Models
from fibstream.services.inference.tiling import predict

from ..app.test_redesign import make
from ..inference.net import finer, write_net
from ..support.command import inside

SIZE = (8.0, 8.0, 9.0)  # nm; the output has 8, 4 and 3
FINE = (8.0, 4.0, 3.0)
SHAPE = (9, 14, 11)
CENTRE = (800.0, 0.0, 45.0)  # of the first voxel of raw
CORNER = tuple(c - s / 2 for c, s in zip(CENTRE, SIZE, strict=True))
WHAT_TO_DO = "use `fibstream predict`, then `refine` and `measure`"


def write(path: Path, voxels: NDArray[np.uint8], size, corner) -> Path:
    """Write an OME-NGFF image whose first voxel has a corner, in nm."""
    group = zarr.create_group(path, zarr_format=2)
    group.create_array("s0", shape=voxels.shape, chunks=(8, 8, 8), dtype="uint8")[:] = voxels
    centre = [c + s / 2 for c, s in zip(corner, size, strict=True)]
    steps = [{"type": "scale", "scale": list(size)}, {"type": "translation", "translation": centre}]
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    entry: Any = {"version": "0.4", "axes": axes,
             "datasets": [{"path": "s0", "coordinateTransformations": steps}]}  # fmt: skip
    group.attrs.update({"multiscales": [entry]})
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root") / "models"
    folder.mkdir()
    grey = {"mean": 120.0, "deviation": 50.0, "edges": {"mito": 80.0}}
    return write_net(folder / "finer.onnx", body=finer, halo=[5] * 3, voxel_size_nm=SIZE,
                     output_voxel_size_nm=FINE, grey=grey)  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    voxels = np.random.default_rng(5).integers(0, 256, SHAPE, np.uint8)
    return write(tmp_path_factory.mktemp("raw") / "raw.zarr", voxels, SIZE, CORNER)


@pytest.fixture(scope="module")
def whole(net: Path, raw: Path) -> NDArray[np.uint8]:
    """Predict in one call, no command in between."""
    box = Box((0, 0, 0), SHAPE)
    voxels = np.asarray(zarr.open_array(raw / "s0", mode="r")[:])
    return predict(Patch(voxels, box), box, make_engine(net, 1, Wanted()))


@pytest.mark.parametrize("chunk", [(), ("--chunk", "4,10,9"), ("--chunk", "5,6,33")])
def test_any_block_writes_the_same_voxels_at_their_place(net, raw, whole, tmp_path, chunk) -> None:
    out = tmp_path / "out.zarr"
    answer = inside("predict", "--raw", raw, "--model", net, "--out", out, *chunk)
    assert answer.code == 0, answer.err
    for k, name in enumerate(("mito", "er")):
        found = np.asarray(zarr.open_array(out / f"predictions/{name}/s0", mode="r")[:])
        assert found.shape == (9, 28, 33) and np.array_equal(found, whole[k])
    document = json.loads((out / "predictions/mito/zarr.json").read_text())
    (level, *_) = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    scale, shift = level["coordinateTransformations"]
    assert scale["scale"] == list(FINE)
    # From the corner of raw half a voxel of the finer ones: 800, -2 and 42 nm.
    assert shift["translation"] == [800.0, -4 + 2, 40.5 + 1.5]


def test_it_is_compared_by_position_with_a_finer_truth(net, raw, whole, tmp_path) -> None:
    out = tmp_path / "out.zarr"
    assert inside("predict", "--raw", raw, "--model", net, "--out", out).code == 0
    mask = (whole[0] >= 127).astype(np.uint8)
    begin = (2, 5, 4)  # of a crop, in voxels of the truth
    corner = [c + b * s for c, b, s in zip(CORNER, begin, FINE, strict=True)]
    crop = write(tmp_path / "crop.zarr", mask[2:8, 5:27, 4:30], FINE, corner)
    scores = tmp_path / "scores.json"
    answer = inside("evaluate", "--truth", crop, "--test", f"{out}#predictions/mito/s0",
                    "--threshold", "127", "--out", scores)  # fmt: skip
    assert answer.code == 0, answer.err
    found = json.loads(scores.read_text())
    assert found["dice"] == 1.0 and found["compared"]["test_from"] == list(begin)
    assert found["compared"]["voxel_size_nm"] == list(FINE)


def test_what_was_never_imaged_is_nothing_in_finer_voxels_too(net, raw, whole, tmp_path) -> None:
    there = np.ones(SHAPE, np.uint8)
    there[:, 6:9, 4:] = 0
    mask = write(tmp_path / "mask.zarr", there, SIZE, CORNER)
    found = {}
    for name, more in (("one", ()), ("many", ("--chunk", "3,8,12"))):
        out = tmp_path / f"{name}.zarr"
        answer = inside("predict", "--raw", raw, "--model", net, "--out", out, *more,
                        "--absent-mask", mask)  # fmt: skip
        assert answer.code == 0, answer.err
        found[name] = np.asarray(zarr.open_array(out / "predictions/er/s0", mode="r")[:])
    imaged = there.repeat(2, 1).repeat(3, 2) > 0
    assert np.array_equal(found["one"], found["many"])
    assert not found["one"][~imaged].any() and (found["one"][imaged] > 0).mean() > 0.9
    assert not np.array_equal(found["one"][imaged], whole[1][imaged])  # it sees middle grey there


def test_chunks_are_whole_voxels_of_the_input(net, raw, tmp_path) -> None:
    out = tmp_path / "out.zarr"
    answer = inside("predict", "--raw", raw, "--model", net, "--out", out, "--chunk", "4,7,9")
    assert answer.code == 2 and "--chunk 4,7,9: expected multiples of 1,2,3" in answer.err
    assert answer.err.count("\n") == 1 and not out.exists()


def test_where_all_arrays_have_one_grid_it_is_refused_in_one_line(net, raw, tmp_path) -> None:
    pipeline, out = tmp_path / "p.yaml", tmp_path / "out.zarr"
    pipeline.write_text(f"models: [{net}]\norganelles: [{{name: mito}}]\n")
    answer = inside("run", "--raw", raw, "--pipeline", pipeline, "--out", out, "--bus", "memory:")
    assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
    assert WHAT_TO_DO in answer.err and "8 x 4 x 3 nm from 8 x 8 x 9 nm" in answer.err
    assert not out.exists()
    models = Models(Root(str(net.parent.parent)), Settings())
    assert "finer" not in models.all() and "mito" in models.all()
    with pytest.raises(WrongUse, match=WHAT_TO_DO):
        models.find("finer")
    there = Dataset(name="cell", shape=(64, 64, 64), chunk=(32, 32, 32), dtype="uint8",
                    voxel_size_nm=SIZE, contrast=(0, 255))  # fmt: skip
    with pytest.raises(WrongUse, match=WHAT_TO_DO):
        redesign(there, parse_pipeline(pipeline.read_text(), "p.yaml"), lambda _: net, make)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ([8, 4, 4.4], "output_voxel_size_nm 4.4: expected 9, or that by a whole number up to 8"),
        ([16, 4, 3], "output_voxel_size_nm 16: expected 8"),
        ([8, 0.5, 3], "output_voxel_size_nm 0.5: expected 8"),
        ([8, 4], "metadata output_voxel_size_nm"),
        ([8, 4, 9], r"output of a tile is \(2, 6, 12, 18\), its metadata says \(2, 6, 12, 6\)"),
    ],
)
def test_what_is_wrong_in_a_card_is_one_line(tmp_path, raw, sizes, says) -> None:
    path = write_net(tmp_path / "net.onnx", body=finer, halo=[5] * 3, voxel_size_nm=SIZE,
                     output_voxel_size_nm=sizes)  # fmt: skip
    with pytest.raises(WrongUse, match=says) as caught:
        CpuEngine(path)
    assert "\n" not in str(caught.value)
