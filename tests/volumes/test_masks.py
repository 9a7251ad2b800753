"""A mask has the voxels of raw, or the coarser ones; what says nothing is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.downsampled import windows_most
from fibstream.volumes.masks import with_mask
from fibstream.volumes.sources import Source, open_volume

RNG = np.random.default_rng(5)
RAW = RNG.integers(1, 255, (8, 9, 10)).astype(np.uint8)
MASK = (RNG.random(RAW.shape) < 0.3).astype(np.uint8)


def saved(path: Path, array: NDArray[Any], size: float = 8) -> str:
    np.savez(path, raw=array, voxel_size_nm_zyx=[size] * 3)
    return str(path)


def whole(source: Source | None) -> NDArray[Any]:
    assert source is not None
    found: NDArray[Any] = source.read(Box((0, 0, 0), source.shape))
    return found


@pytest.mark.parametrize("values", [MASK, MASK > 0, MASK * 255])
def test_a_mask_of_either_size_is_the_same_mask(tmp_path: Path, values: NDArray[Any]) -> None:
    raw = open_volume(saved(tmp_path / "raw.npz", RAW), kind="raw")
    fine = with_mask(raw, saved(tmp_path / "m.npz", values), (2, 2, 2), None, iter)
    expected = windows_most(MASK, (2, 2, 2))
    assert np.array_equal(whole(fine.mask), expected)
    path = saved(tmp_path / "coarse.npz", expected, 16)
    coarse = with_mask(raw, path, (2, 2, 2), None, iter)
    assert np.array_equal(whole(coarse.mask), expected)
    assert coarse.shape == fine.shape


@pytest.mark.parametrize(
    ("array", "size", "message"),
    [
        (MASK * 3, 8, "holds 0, 3: expected 0 where a voxel was never imaged and 1 or 255"),
        (MASK[:7], 8, "absent mask must fit raw: .*expected the same"),
        (MASK, 4, "absent mask must fit raw: .*nm"),
    ],
)
def test_another_mask_is_refused_before_anything_is_made(
    tmp_path: Path, array: NDArray[Any], size: float, message: str
) -> None:
    raw = open_volume(saved(tmp_path / "raw.npz", RAW), kind="raw")
    path = saved(tmp_path / "m.npz", array, size)
    for factors in ((1, 1, 1), (2, 2, 2)):
        with pytest.raises(WrongUse, match=message):
            with_mask(raw, path, factors, None, iter)


def test_a_mask_that_says_that_nothing_was_imaged_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = open_volume(saved(tmp_path / "raw.npz", RAW), kind="raw")
    for mask, told in ((MASK, 0), (MASK * 0, 1)):
        with_mask(raw, saved(tmp_path / "m.npz", mask), track=iter)
        assert caplog.text.count("m.npz#raw is 0 everywhere: nothing was imaged") == told
