"""The pure part of training: distances, augmentation, and patches that a seed repeats."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.errors import WrongUse
from fibstream.services.inference.training.config import TrainingConfig
from fibstream.services.inference.training.samples import (
    MAX_DISTANCE,
    Annotated,
    annotate,
    augment_grey,
    draw,
    signed_distance,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def volume() -> Annotated:
    rng = np.random.default_rng(1)
    mask = np.zeros((20, 24, 28), bool)
    mask[6:14, 5:15, 8:20] = True
    raw = np.where(mask, 60, 160).astype(np.uint8) + rng.integers(0, 40, mask.shape, np.uint8)
    return annotate(raw, mask, voxel_size_nm=10, scale_nm=50)


def test_distance_is_zero_between_voxels_and_clipped() -> None:
    mask = np.zeros((3, 3, 60), bool)
    mask[..., 30:] = True
    along = signed_distance(mask, voxel_size_nm=8, max_nm=100)[1, 1]
    assert along[28:32].tolist() == [-12, -4, 4, 12]
    assert along[0] == -100 and along[-1] == 100


@pytest.mark.parametrize("scale_nm", [20, 50])
def test_targets_reach_to_where_a_byte_is_saturated(scale_nm: int) -> None:
    mask = np.zeros((3, 3, 60), bool)
    mask[..., 30:] = True
    target = annotate(mask.astype(np.uint8), mask, voxel_size_nm=8, scale_nm=scale_nm).target
    assert target[1, 1, 31] == np.float32(12 / scale_nm)
    assert target[1, 1, -1] == np.float32(MAX_DISTANCE) == -target[1, 1, 0]
    assert np.round(128 * np.tanh(MAX_DISTANCE) + 127) == 254


def test_a_voxel_is_valid_where_no_surface_beyond_the_box_could_be_nearer(
    volume: Annotated,
) -> None:
    n = volume.raw.shape
    for voxel in ((0, 0, 0), (10, 10, 14), (2, 12, 14), (19, 23, 27), (7, 6, 9)):
        to_edge_nm = (min(min(i, e - 1 - i) for i, e in zip(voxel, n, strict=True)) + 0.5) * 10
        nearest_nm = abs(volume.target[voxel]) * 50
        assert volume.valid[voxel] == (nearest_nm <= to_edge_nm)
    assert 0 < volume.valid.mean() < 1


def test_the_step_alone_decides_the_patch(volume: Annotated) -> None:
    first, again = (draw(volume, np.random.default_rng((7, 3)), output=8, halo=4) for _ in "ab")
    other = draw(volume, np.random.default_rng((7, 4)), output=8, halo=4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_patches_fit_the_network(volume: Annotated) -> None:
    for seed in range(20):
        raw, target, valid = draw(volume, np.random.default_rng(seed), output=16, halo=24)
        assert raw.shape == (64, 64, 64)
        assert target.shape == valid.shape == (16, 16, 16)
        assert {a.dtype for a in (raw, target, valid)} == {np.dtype(np.float32)}
        assert raw.min() >= -1
        assert raw.max() <= 1
        assert set(np.unique(valid)) <= {0, 1}


def test_raw_and_target_turn_together(volume: Annotated) -> None:
    """With grey values for a target, the middle of each raw patch still resembles its target."""
    texture = ndimage.gaussian_filter(np.random.default_rng(2).random(volume.raw.shape), 1)
    level = (255 * (texture - texture.min()) / np.ptp(texture)).astype(np.uint8)
    twin = Annotated(level, level.astype(np.float32), volume.valid, volume.inside)
    for seed in range(10):
        raw, target, _ = draw(twin, np.random.default_rng(seed), output=12, halo=6)
        middle = raw[6:-6, 6:-6, 6:-6]
        assert np.corrcoef(middle.ravel(), target.ravel())[0, 1] > 0.6


def test_reflection_is_numpys(volume: Annotated) -> None:
    index = np.arange(20 * 24 * 28).reshape(20, 24, 28)
    plain = Annotated(volume.raw, index.astype(np.float32), volume.valid, volume.inside)
    margin = 64
    around = np.pad(index, margin, mode="reflect")
    known = {cut.tobytes() for cut in _cubes(around, plain, edge=6)}
    for seed in range(8):
        _, target, _ = draw(plain, np.random.default_rng(seed), output=6, halo=30)
        assert np.sort(target.ravel()).astype(np.float32).tobytes() in known


def _cubes(around: NDArray[Any], volume: Annotated, edge: int) -> Iterator[NDArray[np.float32]]:
    """Sorted values of every cube whose centre is near enough to the volume to be drawn."""
    low = 64 - 2 * edge
    for z, y, x in np.ndindex(*(n + 3 * edge for n in volume.raw.shape)):
        cut = around[low + z :, low + y :, low + x :][:edge, :edge, :edge]
        yield np.sort(cut.ravel()).astype(np.float32)


def test_grey_values_stay_in_range() -> None:
    rng = np.random.default_rng(9)
    for _ in range(20):
        grey = augment_grey(rng.random((6, 6, 6)).astype(np.float32), rng)
        assert grey.dtype == np.float32
        assert 0 <= grey.min() <= grey.max() <= 1


def test_raw_and_mask_of_one_grid_alone_are_trained_on(tmp_path: Path) -> None:
    recipe = yaml.safe_load((ROOT / "models/mito.yaml").read_text())
    mask = np.zeros((4, 5, 6), np.int16)
    mask[1] = 7
    for raw, more, says in (
        (np.ones(mask.shape, np.uint8), {}, ""),
        (np.ones((4, 5, 7), np.uint8), {}, "expected the same"),
        (np.ones(mask.shape, np.uint16), {}, "expected uint8"),
        (np.ones(mask.shape, np.uint8), {"voxel_size_nm_zyx": [5.0] * 3}, "5,5,5 nm, but 10,10,10"),
    ):
        path = tmp_path / "data.npz"
        arrays: dict[str, Any] = {"raw": raw, "mito": mask, **more}
        np.savez(path, **arrays)
        config = TrainingConfig.model_validate(recipe | {"data": str(path)})
        if says:
            with pytest.raises(WrongUse, match=says):
                config.load()
        else:
            found = config.load()
            assert np.array_equal(found[0], raw) and np.array_equal(found[1], mask > 0)
