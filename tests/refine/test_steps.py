"""Several masks, a cell, a choice by ids and parts: blocks in any cut are the whole volume."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.app.reference import labels_of
from fibstream.core.dataset import Dataset, Organelle, Prediction
from fibstream.core.errors import WrongUse
from fibstream.core.events import GONE
from fibstream.core.grid import Grid
from fibstream.core.ids import gid
from fibstream.kernels.smooth import smooth
from fibstream.services.refine.parts import PartFold
from fibstream.services.refine.recipe import find_recipe, resolve
from fibstream.services.refine.recipes.generic import GenericSettings
from fibstream.services.refine.rule import threshold_level

from ..support.geometry import triple
from .streamed import Streamed, dataset_of, streamed
from .test_masked import slow_near
from .whole import absence, one_box, random_absent, random_grid, random_volume, rule_of, whole

TRIALS = 30
MASKS = (("mask", "keep", "expand_nm"), ("mask_2", "keep_2", "expand_2_nm"),
         ("mask_3", "keep_3", "expand_3_nm"))  # fmt: skip
Bits = NDArray[np.bool_]


class World:
    """A prediction, up to three other organelles, a cell, a grid, absent chunks."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        lumps = random_volume(self.rng, 14)
        self.grid = random_grid(self.rng, lumps.shape)
        self.absent = random_absent(self.rng, self.grid)
        self.gone = absence(self.grid, self.absent)
        self.values = self._bytes(lumps)
        beside = self.rng.random(lumps.shape) < 0.1  # 126 is the byte next to the surface
        self.cell = np.where(self.gone, 0, np.where(beside, 126, 127)).astype(np.uint8)
        self.others = [self._labels(density) for density in (0.003, 0.01, 0.5)]
        self.order = [triple(i) for i in self.rng.permutation(list(self.grid.indices())).tolist()]

    def _bytes(self, inside: Bits) -> NDArray[np.uint8]:
        noise = self.rng.integers(0, 60, inside.shape)
        return np.where(self.gone, 0, np.where(inside, 255 - noise, noise)).astype(np.uint8)

    def _labels(self, density: float) -> NDArray[np.uint64]:
        there = (self.rng.random(self.values.shape) < density) & ~self.gone
        ids = self.rng.integers(1, 5, there.shape) * there
        return ids.astype(np.uint64) * np.uint64(1 << 50)

    def settings(self) -> dict[str, Any]:
        """Return settings of three masks; the densest one is kept inside, or no further."""
        drawn: dict[str, Any] = {}
        for number, (_, keep, expand_nm) in enumerate(MASKS):
            inside = number == 2 or self.rng.random() < 0.3
            drawn[keep] = "inside" if inside else "outside"
            drawn[expand_nm] = float(self.rng.choice([3, 4, 8, 9, 12] if inside else [0, 3, 4]))
        return drawn

    def kept(self, settings: Mapping[str, Any]) -> Bits:
        """Return where all masks keep a prediction, each stamped on the whole volume."""
        kept: Bits = self.cell >= 127
        for (_, keep, expand_nm), labels in zip(MASKS, self.others, strict=True):
            near = slow_near(labels, settings[expand_nm])
            kept = kept & (near if settings[keep] == "inside" else ~near)
        return kept

    def stream(self, recipe: str, settings: Mapping[str, Any], **inputs: str) -> Streamed:
        """Return what a recipe makes, chunk by chunk."""
        arrays: dict[str, NDArray[Any]] = {
            "predictions/b": self.values, "predictions/cell": self.cell,
            **{f"labels/{n}": labels for n, labels in zip("xyz", self.others, strict=True)},
        }  # fmt: skip
        full = resolve(recipe, settings).model_dump(mode="json")
        made = dataset_of(self.grid, recipe, {"prediction": "b", **inputs}, full)
        return streamed(made, arrays, self.order, self.absent)


ALL = {"mask": "x", "mask_2": "y", "mask_3": "z", "cell": "cell"}


def whole_labels(world: World, values: NDArray[np.uint8], **settings: Any) -> NDArray[np.uint64]:
    """Return the labels of a whole prediction by the rule of generic."""
    rule = rule_of(**{k: v for k, v in settings.items() if k in GenericSettings.model_fields})
    if any(rule.sigma):
        mask = smooth(values, rule.sigma, one_box(values)) >= rule.level
    else:
        mask = values >= -(-rule.level >> 7)
    return whole(mask & ~world.gone, world.gone, rule)


def counts(labels: NDArray[np.uint64]) -> dict[int, int]:
    ids, voxels = np.unique(labels[labels != 0], return_counts=True)
    return dict(zip(ids.tolist(), voxels.tolist(), strict=True))


@pytest.mark.parametrize("smooth_nm", [0, 6])
def test_several_masks_and_a_cell(smooth_nm: float) -> None:
    found = 0
    for seed in range(2 * TRIALS):
        world = World(seed)
        settings = world.settings() | {"smooth_nm": smooth_nm}
        masked = np.where(world.kept(settings), world.values, 0).astype(np.uint8)
        expected = whole_labels(world, masked, **settings)
        made = world.stream("masked", settings, **ALL)
        np.testing.assert_array_equal(made.labels, expected, f"seed {seed}")
        found += bool(expected.any())
    assert found > TRIALS // 3


@pytest.mark.parametrize("fill_holes", ["none", "one", "all"])
def test_objects_are_chosen_by_their_last_ids(fill_holes: str) -> None:
    dropped = 0
    for seed in range(TRIALS):
        world = World(seed)
        world.others[0][:] = 0
        rule = {"fill_holes": fill_holes, "min_volume_nm3": 256.0}
        labels = whole_labels(world, world.values, **rule)
        ids = [int(i) for i in counts(labels)]
        only = [i for i in ids if world.rng.random() < 0.7] * int(world.rng.integers(2))
        without = [i for i in [*ids, 1] if world.rng.random() < 0.3]
        chosen = [i for i in ids if (not only or i in only) and i not in without]
        expected = np.where(np.isin(labels, chosen), labels, np.uint64(0))
        made = world.stream(
            "masked", rule | {"select_ids": only, "drop_ids": without}, mask="x"
        )  # fmt: skip
        np.testing.assert_array_equal(made.labels, expected, f"seed {seed}")
        assert made.objects == counts(expected), f"seed {seed}"
        dropped += 0 < len(chosen) < len(ids)
    assert dropped > TRIALS // 5


def test_a_part_has_the_ids_of_its_parent() -> None:
    found = 0
    for seed in range(TRIALS):
        world = World(seed)
        settings = world.settings()
        # The parent is no mask of its part.
        del settings["keep_3"], settings["expand_3_nm"]
        settings["threshold_nm"] = float(world.rng.choice([-20, 0, 15]))
        least = -(-threshold_level(settings["threshold_nm"], 50) >> 7)
        all_kept = world.kept(settings | {"keep_3": "inside", "expand_3_nm": 0})
        expected = np.where((world.values >= least) & all_kept, world.others[2], np.uint64(0))
        inputs = {name: other for name, other in ALL.items() if name != "mask_3"}
        made = world.stream("part", settings, parent="z", **inputs)
        np.testing.assert_array_equal(made.labels, expected, f"seed {seed}")
        assert made.objects == counts(expected), f"seed {seed}"
        found += bool(expected.any())
    assert found > TRIALS // 2


def test_the_fold_of_a_part_is_a_function_of_its_last_summaries() -> None:
    """Chunks come in any order, again, and with other content; the seal comes at any time."""
    grid = Grid((8, 4, 4), (4, 2, 2))
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        fold, objects = PartFold("m"), dict[int, tuple[int, bool]]()
        last: dict[tuple[int, int, int], dict[int, int]] = {}
        steps = [triple(i) for i in rng.permutation(list(grid.indices()) * 3).tolist()]
        sealed_at = int(rng.integers(len(steps)))
        for number, index in enumerate(steps):
            if number == sealed_at:
                fold.seal(grid)
            ids = np.flatnonzero(rng.random(6) < 0.3).astype("<u8") + 1
            voxels = rng.integers(1, 9, ids.size).astype("<u4")
            last[index] = dict(zip(ids.tolist(), voxels.tolist(), strict=True))
            fold.put(fold.inputs[0], index, "", {"ids": ids, "voxels": voxels})
            if rng.random() < 0.5 or number == len(steps) - 1:
                for change in fold.changes():
                    assert (change.kind in GONE) <= (change.id in objects)
                    objects.pop(change.id, None)
                    if change.kind not in GONE:
                        objects[change.id] = change.voxels, change.kind == "final"
                whole = number >= sealed_at and len(last) == 8
                total = {i: sum(c.get(i, 0) for c in last.values()) for i in range(1, 7)}
                assert objects == {i: (n, whole) for i, n in total.items() if n}, f"seed {seed}"
        assert not list(fold.changes())


# -- what is refused -------------------------------------------------------------------------------

GRID = Grid((4, 8, 8), (4, 8, 8))


def stages_of(recipe: str, settings: Mapping[str, Any], **inputs: str) -> None:
    full = resolve(recipe, settings).model_dump(mode="json")
    find_recipe(recipe).stages(*dataset_of(GRID, recipe, {"prediction": "b", **inputs}, full))


BEYOND = 1 + gid((0, 8, 0))


@pytest.mark.parametrize(
    ("recipe", "settings", "inputs", "reason"),
    [
        ("masked", {"drop_ids": [0]}, {"mask": "x"}, "drop_ids is .0.: expected a list of at most"),
        ("masked", {"drop_ids": 7}, {"mask": "x"}, "drop_ids is 7: expected a list of at most"),
        ("masked", {"drop_ids": ["7"]}, {"mask": "x"}, "drop_ids is .'7'.: expected a list"),
        ("masked", {"select_ids": [1] * 1001}, {"mask": "x"}, "select_ids is .*: expected a list"),
        (
            "masked", {"select_ids": [BEYOND]}, {"mask": "x"},
            f"organelle made: select_ids has {BEYOND}, which is no voxel of the volume",
        ),
        ("masked", {"keep_2": "inside"}, {"mask": "x"}, "keep_2 is of a mask_2, and there is none"),
        ("part", {"expand_nm": 3.0}, {"parent": "x"}, "expand_nm is of a mask, and there is none"),
        ("masked", {}, {"mask": "x", "mask_2": "x"}, "mask and mask_2 are both x"),
        ("part", {}, {"parent": "x", "mask": "x"}, "parent and mask are both x"),
        ("masked", {}, {"mask": "x", "cell": "b"}, "prediction and cell are both b"),
        ("part", {"smooth_nm": 3.0}, {"parent": "x"}, "no setting 'smooth_nm': one of keep, "),
        ("part", {"keep": "in"}, {"parent": "x"}, "keep is 'in': expected one of inside, outside"),
        ("part", {"threshold_nm": 200}, {"parent": "x"}, "threshold_nm 200: expected -128 to 155"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    recipe: str, settings: dict[str, Any], inputs: dict[str, str], reason: str
) -> None:
    with pytest.raises(WrongUse, match=reason) as caught:
        stages_of(recipe, settings, **inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [{"is_distance": False}, {"squash_nm": 20.0}])
def test_a_cell_is_a_mask_whose_bytes_tell_inside_from_beside(words: dict[str, Any]) -> None:
    full = resolve("masked", {}).model_dump(mode="json")
    dataset, made = dataset_of(GRID, "masked", {"prediction": "b", "mask": "x"}, full)
    made = Organelle.model_validate(made.model_dump() | {"inputs": {**made.inputs, "cell": "c"}})
    fine = dataset.model_copy(
        update={"voxel_size_nm": (0.3, 0.3, 0.3),
                "predictions": (*dataset.predictions, Prediction(name="c", **words))},
    )  # fmt: skip
    assert find_recipe("masked").stages(fine, made)
    coarse: Dataset = fine.model_copy(
        update={"predictions": (*dataset.predictions, Prediction(name="c"))}
    )
    reason = "prediction c: of squash length 50 nm, it is no mask of.* less than 38.3998$"
    with pytest.raises(WrongUse, match=reason):
        find_recipe("masked").stages(coarse, made)


def test_the_reference_chooses_among_ids_that_float64_would_round() -> None:
    prediction = np.zeros((8320, 1, 3), np.uint8)
    prediction[8192::2, 0, ::2] = 255  # at z = 8192 ids of a row along x are one float64
    every = labels_of(prediction, rule_of(fill_holes="none"))
    only = frozenset(np.unique(every[8192::2, 0, 0]).tolist())
    for rule, kept in (
        (rule_of(fill_holes="none").chosen(only, frozenset()), 0),
        (rule_of(fill_holes="none").chosen(frozenset(), only), 2),
    ):
        labels = labels_of(prediction, rule)
        assert np.unique(np.nonzero(labels)[2]).tolist() == [kept]
