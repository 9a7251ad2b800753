"""Every organelle in one run: a phantom with its predictions, and the pipeline `cell`."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from ..support.command import inside

SHAPE, VOXEL_NM = "48,64,64", 40.0  # the nucleus in it is larger than the smallest one


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "p.zarr"
    answer = inside("phantom", "--out", out, "--size", SHAPE, "--voxel-size-nm", VOXEL_NM, "--seed",
                    1, "--predictions", "--noise-nm", 8, "--chunk", SHAPE)  # fmt: skip
    assert answer.code == 0, answer.err
    return out


def run(phantom: Path, out: Path, *more: object):
    return inside("run", "--raw", phantom, "--pipeline", "cell", "--predictions", phantom, "--out",
                  out, "--bus", "memory:", "--json", *more)  # fmt: skip


def read(out: Path, group: str, kind: Kind = "labels") -> np.ndarray:
    with closing(open_volume(f"{out}#{group}", kind=kind)) as source:
        return source.read(read_dataset(LocalFiles(out)).grid.volume)


def test_two_shapes_of_chunks_give_the_whole_volume(phantom, tmp_path) -> None:
    whole, streamed = tmp_path / "whole.zarr", tmp_path / "streamed.zarr"
    one = run(phantom, whole, "--chunk", SHAPE)
    other = run(phantom, streamed, "--chunk", "48,37,64", "--order", "random")
    for answer in (one, other):
        assert (answer.code, answer.report["failed"]) == (0, []), answer.err
    assert one.hashes == other.hashes
    found = read_dataset(LocalFiles(streamed)).organelles
    assert len(found) == 27
    assert len([o.name for o in found if read(streamed, f"labels/{o.name}").any()]) >= 12
    check_masks(streamed)


def check_masks(out: Path) -> None:
    """Compare foregrounds with plain numpy and scipy on the whole volume."""
    inside = {n: read(out, f"predictions/{n}", "prediction") >= 127 for n in ("er", "mito", "NE")}
    er, nucleus, ne = (read(out, f"labels/{name}") for name in ("er", "nucleus", "ne"))
    assert er.any() and nucleus.any() and ne.any()
    near = ndimage.distance_transform_edt(nucleus == 0, sampling=VOXEL_NM)
    outer = np.where((near > 80) & inside["er"], er, 0)
    assert np.array_equal(read(out, "labels/er-periph"), outer)
    kept = sizable(inside["NE"] & (near <= 160), 3e5)
    assert np.array_equal(ne > 0, kept)
    mem = read(out, "predictions/er_membrane", "prediction") >= 127
    assert np.array_equal(read(out, "labels/er-mem"), np.where(mem, er, 0))


def sizable(mask: np.ndarray, least_nm3: float) -> np.ndarray:
    found, _ = ndimage.label(mask)
    large = np.bincount(found.ravel()) > np.ceil(least_nm3 / VOXEL_NM**3)
    large[0] = False
    return large[found]


def without(phantom: Path, folder: Path, names: Sequence[str]) -> Path:
    (folder / "predictions").mkdir(parents=True)
    for each in (phantom / "predictions").iterdir():
        if each.is_dir() and each.name not in names:
            (folder / "predictions" / each.name).symlink_to(each)
    return folder


def test_a_class_that_nobody_has_is_named_and_can_be_left_out(phantom, tmp_path) -> None:
    given = without(phantom, tmp_path / "some", ["golgi"])
    out = tmp_path / "c.zarr"
    answer = inside("run", "--raw", phantom, "--pipeline", "cell", "--predictions", given, "--out",
                    out, "--bus", "memory:")  # fmt: skip
    assert answer.code == 2
    assert "has no golgi, of which golgi, golgi-mem are made; expected" in answer.err
    assert not out.exists()
    answer = inside("run", "--raw", phantom, "--pipeline", "cell", "--predictions", given, "--out",
                    out, "--bus", "memory:", "--organelles", "eres,ld")  # fmt: skip
    assert answer.code == 0, answer.err
    assert [o.name for o in read_dataset(LocalFiles(out)).organelles] == ["er", "eres", "ld"]


def test_without_predictions_it_says_what_is_needed(phantom, tmp_path) -> None:
    answer = inside("run", "--raw", phantom, "--pipeline", "cell", "--out", tmp_path / "c.zarr")
    assert answer.code == 2
    assert "--predictions FOLDER" in answer.err
