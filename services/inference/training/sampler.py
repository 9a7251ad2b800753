"""The batch of a step: it depends on the seed and the step alone, so a resumed run draws the same.

A crop is drawn with a chance by its weight, then a place in it, until enough of the patch is
annotated; with the chance of a priority a crop that contains a class, and a patch around one of its
voxels: a rare class would hardly be seen otherwise. Beyond the volume raw is reflected, as
inference does; beyond the crop nothing is annotated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.errors import WrongUse

from .augment import Deformation, turn, vary
from .config import TrainingConfig
from .crops import Crop, made
from .data import PhantomConfig
from .targets import Truth, balance, margin_nm, targets

TRIES = 50  # places that are drawn until one is annotated well enough
# Voxels of the labels of all crops of a step, times classes, up to which targets are computed of
# crops as a whole: once, instead of with their margin for every patch. They take 5 bytes each.
WHOLE = 1 << 28
Floats = NDArray[np.float32]
Targets = tuple[Floats, NDArray[np.bool_]]  # both (classes, z, y, x); where the first hold
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """Raw ``(n, 1, z, y, x)`` in [-1, 1]; targets and weights ``(n, classes, z', y', x')``."""

    raw: Floats
    target: Floats
    weight: Floats


class Sampler:
    """Batches of a configuration and its crops."""

    def __init__(self, config: TrainingConfig, crops: Sequence[Crop]) -> None:
        self._config = config
        self._crops = list(crops)
        self._input = config.input_edge * config.thinning  # voxels of raw
        self._halo = (self._input - config.patch) // 2
        self._phantoms: dict[tuple[PhantomConfig, int], Crop] = {}  # of a step
        self._whole: dict[Crop, Targets | None] = {}  # of the crops of a step, if they are kept
        self._where: dict[tuple[Crop, str], NDArray[np.int64]] = {}  # voxels of classes in them

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        config = self._config
        found = [self._patch(step, item) for item in range(config.batch)]
        raw, target, valid = (np.stack(parts) for parts in zip(*found, strict=True))
        even = (
            balance(target, valid, config.outputs)
            if config.balanced(step)
            else valid.astype(np.float32)
        )
        return Batch(raw[:, None], target, even)

    def _patch(self, step: int, item: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        config = self._config
        rng = np.random.default_rng((config.seed, step, item))
        crop, wanted = self._crop(rng, step)
        for _ in range(TRIES):
            target, valid, place, warp = self._truth(crop, wanted, rng)
            if valid.any(axis=0).mean() >= config.least_valid:
                break
        else:
            raise WrongUse(
                f"{crop.name}: of {TRIES} places none has {config.least_valid:.0%} of a patch "
                f"of {config.patch} voxels annotated: make patch or least_valid smaller"
            )
        raw = self._raw(crop, place, warp, rng)
        if config.augment.mirror:
            z, y, x = rng.permutation(3).tolist()
            flips = tuple(rng.choice((1, -1), 3).tolist())
            raw, target = turn(raw, (z, y, x), flips), turn(target, (z, y, x), flips)
            valid = turn(valid, (z, y, x), flips)
        return raw * 2 - 1, target, valid

    def _crop(self, rng: np.random.Generator, step: int) -> tuple[Crop, str | None]:
        """Draw a crop, and the class by whose priority it was drawn."""
        config, crops = self._config, self._crops_at(step)
        weights, wanted = np.array([crop.weight for crop in crops]), None
        for name, chance in config.priority.items():
            there = np.array([name in crop.present for crop in crops])
            if rng.random() < chance and there.any():
                weights, wanted = weights * there, name
                break
        return crops[rng.choice(len(crops), p=weights / weights.sum())], wanted

    def _crops_at(self, step: int) -> list[Crop]:
        """Return the crops of a step; phantoms of earlier ones are kept no longer."""
        config = self._config
        wanted = [(p, step // p.every) for p in config.phantoms]
        self._phantoms = {
            key: self._phantoms.get(key) or made(*key, config.voxel_size_nm, config.outputs)
            for key in wanted
        }
        crops = self._crops + [self._phantoms[key] for key in wanted]
        voxels = sum(prod(crop.shape) * crop.factor**3 for crop in crops)
        few = voxels * len(config.outputs) <= WHOLE
        self._whole = {crop: self._whole.get(crop) for crop in crops} if few else {}
        self._where = {key: found for key, found in self._where.items() if key[0] in set(crops)}
        return crops

    def _place(self, crop: Crop, wanted: str | None, rng: np.random.Generator) -> Place:
        """Draw where a patch begins, in voxels of raw: anywhere, or with a voxel of a class."""
        edge = self._config.patch
        low, high = ([bound(0, n - edge) for n in crop.shape] for bound in (min, max))
        if wanted is None:
            z, y, x = (int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
            return z, y, x
        if (crop, wanted) not in self._where:
            self._where[crop, wanted] = crop.voxels_of(wanted)
        voxel = rng.choice(self._where[crop, wanted])
        z, y, x = np.clip(voxel - rng.integers(0, edge, 3), low, high).tolist()
        return z, y, x

    def _truth(
        self, crop: Crop, wanted: str | None, rng: np.random.Generator
    ) -> tuple[Floats, NDArray[np.bool_], Place, Deformation | None]:
        """Return targets and validity of a place, drawn anew; and where and how it was cut."""
        config, edge = self._config, self._config.patch
        z, y, x = self._place(crop, wanted, rng)
        warp = None
        if rng.random() < config.augment.elastic:
            warp = Deformation(rng, edge + config.input_edge, config.augment.elastic_sigma)
        if warp is not None or crop not in self._whole or min(crop.shape) < edge:
            target, valid = self._targets(crop, (z, y, x), (edge,) * 3, warp)
            return target, valid, (z, y, x), warp
        target, valid = self._whole[crop] or self._targets(crop, (0, 0, 0), crop.shape, None)
        self._whole[crop] = target, valid
        cut = (..., slice(z, z + edge), slice(y, y + edge), slice(x, x + edge))
        return target[cut], valid[cut], (z, y, x), warp

    def _targets(self, crop: Crop, place: Place, shape: Place, warp: Deformation | None) -> Targets:
        """Return targets and validity of a box of a crop, in voxels of raw."""
        config, factor = self._config, crop.factor
        margin = ceil(margin_nm(config.scale_nm) / (min(crop.voxel_nm) * factor)) + 1
        start = (np.array(place) - margin) * factor
        count = (np.array(shape) + 2 * margin) * factor
        cut = {
            key: self._labels(array, start, count, factor, warp)
            for key, array in {id(t.labels): t.labels for t in crop.truths.values()}.items()
        }
        truths = {
            name: Truth(cut[id(t.labels)], t.ids, t.thin_nm) for name, t in crop.truths.items()
        }
        target, valid = targets(
            truths, config.outputs, voxel_nm=crop.voxel_nm, scale_nm=config.scale_nm,
            surface=config.surface,
        )  # fmt: skip
        inner = (slice(margin * factor, -margin * factor, factor),) * 3
        return target[:, *inner], valid[:, *inner]

    def _labels(
        self, labels: NDArray[np.uint8], start: NDArray[Any], count: NDArray[Any], factor: int,
        warp: Deformation | None,
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Return labels of a box, of a cube if it is deformed; 0 beyond the crop."""
        if warp is None:
            out = np.zeros(count, np.uint8)
            low, high = np.maximum(start, 0), np.minimum(start + count, labels.shape)
            if (low < high).all():
                into = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
                out[into] = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
            return out
        middle = (start + count / 2) / factor  # of the patch, in voxels of raw
        first = -count / 2 / factor + 0.5 / factor
        places = warp.places(first, 1 / factor, int(count[0])) + middle[:, None, None, None]
        at = places * factor - 0.5
        return np.asarray(ndimage.map_coordinates(labels, at, order=0, cval=0), np.uint8)

    def _raw(
        self, crop: Crop, place: Place, warp: Deformation | None, rng: np.random.Generator
    ) -> Floats:
        """Return the network's input of a place, (z, y, x) in [0, 1], varied."""
        config, count = self._config, self._input
        start = np.array(place) + crop.begin - self._halo
        if warp is None:
            index = [
                reflect(np.arange(s, s + count), n)
                for s, n in zip(start.tolist(), crop.raw.shape, strict=True)
            ]
            raw = crop.raw[np.ix_(*index)].astype(np.float32)
        else:
            middle = start + count / 2
            first = np.full(3, 0.5 - count / 2)
            at = warp.places(first, 1.0, count) + middle[:, None, None, None] - 0.5
            raw = ndimage.map_coordinates(crop.raw, at, order=1, output=np.float32, mode="mirror")
        if (thin := config.thinning) > 1:
            z, y, x = rng.integers(0, thin, 3)  # the paper has 8 thinned volumes of each
            raw = raw[z::thin, y::thin, x::thin]
        return vary(raw / np.float32(255), rng, config.augment)


def reflect(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return indices reflected at both ends of an axis, as numpy's ``reflect`` pads."""
    period = max(2 * (size - 1), 1)
    folded = np.abs(index) % period
    found: NDArray[np.int64] = np.minimum(folded, period - folded)
    return found
