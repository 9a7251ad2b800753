"""Masks of another organelle: blocks in any cut give the objects of the whole masked volume."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.kernels.smooth import smooth
from fibstream.services.refine.recipe import resolve
from fibstream.services.refine.recipes.generic import GenericSettings
from fibstream.services.refine.recipes.masked import MaskedSettings
from fibstream.services.refine.stages.masks import Keep, Mask

from ..support.geometry import triple
from .streamed import dataset_of, streamed
from .whole import (
    VOXEL,
    absence,
    one_box,
    random_absent,
    random_grid,
    random_volume,
    rule_of,
    whole,
)

TRIALS = 25  # of each pair below: 100 in all


def slow_near(labels: NDArray[np.uint64], expand_nm: float) -> NDArray[np.bool_]:
    """Stamp every step that is no longer than the length; lengths are whole nm here."""
    axes = (range(-int(expand_nm // e), int(expand_nm // e) + 1) for e in VOXEL)
    near = np.zeros(labels.shape, bool)
    places = np.argwhere(labels)
    for step in product(*axes):
        if sum((s * int(e)) ** 2 for s, e in zip(step, VOXEL, strict=True)) > expand_nm**2:
            continue
        found = places + step
        found = found[((found >= 0) & (found < labels.shape)).all(1)]
        near[tuple(found.T)] = True
    return near


class Case:
    """A prediction, labels of another organelle, a grid, absent chunks, and settings."""

    def __init__(self, seed: int, keep: Keep, smooth_nm: float) -> None:
        rng = np.random.default_rng(seed)
        lumps = random_volume(rng, 14)
        self.grid = random_grid(rng, lumps.shape)
        self.absent = random_absent(rng, self.grid)
        gone = absence(self.grid, self.absent)
        noise = rng.integers(0, 60, lumps.shape)
        self.values = np.where(gone, 0, np.where(lumps, 255 - noise, noise)).astype(np.uint8)
        other = (rng.random(lumps.shape) < rng.choice([0.0, 0.002, 0.02, 0.3])) & ~gone
        self.labels = other.astype(np.uint64) * np.uint64(7)
        self.settings = resolve(
            "masked",
            {
                "keep": keep,
                "smooth_nm": smooth_nm,
                "expand_nm": float(rng.choice([0, 3, 4, 8, 9, 12, 20])),
                "min_volume_nm3": float(rng.integers(0, 5) * 128),
            },
        )
        assert isinstance(self.settings, MaskedSettings)
        self.expand_nm, self.keep = self.settings.expand_nm, keep
        self.rule = rule_of(**self.settings.model_dump(include=set(GenericSettings.model_fields)))
        self.gone = gone
        self.order = [triple(i) for i in rng.permutation(list(self.grid.indices())).tolist()]

    def expected(self) -> NDArray[np.uint64]:
        near = slow_near(self.labels, self.expand_nm)
        kept = near if self.keep == "inside" else ~near
        masked = np.where(kept, self.values, 0).astype(np.uint8)
        if any(self.rule.sigma):
            found = smooth(masked, self.rule.sigma, one_box(masked)) >= self.rule.level
        else:
            found = masked >= 127
        return whole(found & ~self.gone, self.gone, self.rule)

    def streamed(self) -> NDArray[np.uint64]:
        made = dataset_of(
            self.grid, "masked", {"prediction": "b", "mask": "a"},
            self.settings.model_dump(mode="json"),
        )  # fmt: skip
        arrays = {"predictions/b": self.values, "labels/a": self.labels}
        return streamed(made, arrays, self.order, self.absent).labels


@pytest.mark.parametrize("keep", ["inside", "outside"])
@pytest.mark.parametrize("smooth_nm", [0, 6])
def test_blocks_are_the_whole_masked_volume(keep: Keep, smooth_nm: float) -> None:
    objects = 0
    for seed in range(TRIALS):
        case = Case(seed, keep, smooth_nm)
        expected = case.expected()
        objects += int(expected.any())
        np.testing.assert_array_equal(case.streamed(), expected, f"seed {seed}")
    assert objects > TRIALS // 5


@pytest.mark.parametrize(
    ("expand_nm", "halo"),
    [(0, (0, 0, 0)), (3.999, (0, 0, 0)), (4, (0, 1, 1)), (150, (18, 37, 37))],
)
def test_a_chunk_reads_labels_as_far_as_they_reach(
    expand_nm: float, halo: tuple[int, int, int]
) -> None:
    dataset = Dataset(
        name="d", shape=(9, 9, 9), chunk=(4, 4, 4), dtype="uint8", voxel_size_nm=VOXEL,
        contrast=(0, 255),
    )  # fmt: skip
    read = Mask.of(dataset, "a", "outside", expand_nm).read(rule_of().halo)
    high = tuple(h + 1 for h in halo)
    assert (read.name, tuple(read.halo)) == ("labels/a", (halo, high))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"keep": "in"}, "keep is 'in': expected one of inside, outside"),
        ({"expand_nm": 401}, "expand_nm is 401: expected a number of nm from 0 to 400"),
        ({"expand": 3}, "no setting 'expand': one of smooth_nm"),
    ],
)
def test_a_wrong_setting_is_one_line(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(WrongUse, match=reason):
        resolve("masked", settings)
