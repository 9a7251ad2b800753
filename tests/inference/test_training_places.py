"""Raw and truth of a batch lie at one place, to a part of a voxel; and what varies does vary."""

from pathlib import Path

import numpy as np
import pytest

from fibstream.services.inference.training.augment import Augmentation, vary
from fibstream.services.inference.training.crops import load
from fibstream.services.inference.training.sampler import Sampler
from fibstream.services.inference.training.targets import Truth, signed_distance, targets

from .trained import configured, write_data

PLAIN = {"mirror": False, "elastic": 0, "contrast": [1, 1], "brightness": [0, 0], "gamma": [1, 1],
         "noise": 0, "blur": 0, "jitter": 0, "drift": 0}  # fmt: skip
EDGE, STEP = 40, 6  # voxels of a cube; grey levels from one to the next


def written(path: Path, raw: np.ndarray, mask: np.ndarray) -> list[dict]:
    np.savez(path, raw=raw.astype(np.uint8), mask=mask.astype(np.uint8),
             voxel_size_nm_zyx=[10.0] * 3)  # fmt: skip
    return [{"raw": f"{path}#raw", "crops": [{"masks": {"mito": f"{path}#mask"}}]}]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turned_patch_has_its_surface_where_raw_has_it(tmp_path: Path, axis: int) -> None:
    """Raw is a ramp, so that a grey value tells the place; the surface is between two voxels."""
    place = np.moveaxis(np.broadcast_to(np.arange(EDGE), (EDGE,) * 3), -1, axis)
    entry = written(tmp_path / "ramp.npz", place * STEP, place >= EDGE // 2)
    augment = {**PLAIN, "elastic": 1.0, "elastic_sigma": 0.0}
    config = configured(tmp_path, data=entry, augment=augment, patch=16, batch=1, least_valid=0.01)
    sampler = Sampler(config, load(config))
    seen = 0
    for step in range(12):
        batch = sampler.batch(step)
        known = batch.weight > 0
        where = (batch.raw[known] + 1) * 127.5 / STEP - (EDGE // 2 - 0.5)  # voxels past the surface
        clear = np.abs(where) > 0.02
        inside = batch.target[known] > 0
        assert np.array_equal(inside[clear], where[clear] > 0)
        seen += int(inside.any() and not inside.all())
    assert seen >= 3


def test_raw_is_thinned_out_from_any_of_its_voxels(tmp_path: Path) -> None:
    """The value of a voxel tells which of eight it is; the crop has one place for a patch."""
    at = np.indices((22,) * 3) % 2
    code = 10 + 30 * (at[0] + 2 * at[1] + 4 * at[2])
    network = {"widths": [16, 16], "factors": [2], "convolutions": 1, "padding": "valid",
               "upsample": 2}  # fmt: skip
    mask = np.indices((22,) * 3)[0] > 10
    config = configured(tmp_path, data=written(tmp_path / "code.npz", code, mask), batch=1,
                        simulated_nm=20, patch=22, augment=PLAIN, network=network)  # fmt: skip
    sampler = Sampler(config, load(config))
    found = set()
    for step in range(60):
        (value,) = np.unique(np.rint((sampler.batch(step).raw + 1) * 127.5))
        found.add(int(value))
    assert found == set(np.unique(code).tolist())


def test_phantoms_are_changed_every_so_many_steps(tmp_path: Path) -> None:
    phantom = {"phantom": [30, 40, 40], "seed": 5, "every": 3, "organelles": ["mito"], "count": 2}
    config = configured(tmp_path, classes="few/mito", data=[phantom], augment=PLAIN, batch=1)
    sampler = Sampler(config, [])
    raws = [sampler._crop(np.random.default_rng(0), step)[0].raw for step in (0, 2, 3, 6)]
    assert np.array_equal(raws[0], raws[1]) and np.array_equal(raws[0], raws[3])
    assert not np.array_equal(raws[0], raws[2])


def test_gamma_is_a_power_of_grey_values() -> None:
    raw = np.linspace(0, 1, 64, dtype=np.float32).reshape(4, 4, 4)
    off = Augmentation.model_validate({**PLAIN, "gamma": (2.0, 2.0)})
    assert np.allclose(vary(raw, np.random.default_rng(1), off), raw**2, atol=1e-6)


def test_distances_are_exact_up_to_the_limit() -> None:
    """A voxel of the other side is met as far as it can tell, on each axis."""
    for axis in range(3):
        inside = np.zeros((24, 24, 24), bool)
        inside[(slice(None),) * axis + (slice(0, 1),)] = True
        found = np.moveaxis(signed_distance(inside, (10.0,) * 3, 138.0), axis, 0)[:, 5, 5]
        assert found[[1, 13, 14, 15]].tolist() == [-5.0, -125.0, -135.0, -138.0]


def test_no_target_leaves_the_range(tmp_path: Path) -> None:
    labels = np.full((40, 8, 8), 34, np.uint8)
    labels[:2] = 35
    found, _ = targets({"ribosomes": Truth(labels, (34,), 8.0)}, ("ribosomes",),
                       voxel_nm=(10.0,) * 3, scale_nm=50.0)  # fmt: skip
    assert found.max() == np.float32(np.tanh(np.float32(138 / 50)))


def test_the_data_of_a_configuration_share_its_weight_by_their_size(tmp_path: Path) -> None:
    cell = write_data(tmp_path / "cell.npz")
    masks = {"mito": f"{cell}#mito"}
    crops = [{"masks": masks, "z": [0, 10]}, {"masks": masks, "z": [10, 30]}]
    entries = [{"raw": f"{cell}#raw", "crops": crops, "weight": 3.0},
               {"raw": f"{cell}#raw", "crops": crops[:1]}]  # fmt: skip
    found = load(configured(cell, data=entries))
    assert [crop.weight for crop in found] == pytest.approx([1.0, 2.0, 1.0])
