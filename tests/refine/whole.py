"""The whole-volume algorithm, written with other tools; volumes, and blocks cut from them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Box, Grid, Index
from fibstream.core.ids import gid
from fibstream.core.stage import Arrays, Patch
from fibstream.services.refine.cut import cut_fragments
from fibstream.services.refine.recipes.generic import GenericSettings, object_rule
from fibstream.services.refine.rule import ObjectRule

from ..support.geometry import triple

VOXEL = (8.0, 4.0, 4.0)
RANK = {6: 1, 18: 2, 26: 3}


def rule_of(**settings: Any) -> ObjectRule:
    """The rule of generic with some settings."""
    return object_rule(GenericSettings(**settings), VOXEL)


def rename(labels: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """Give each label 1 + the least gid of its voxels."""
    out = np.zeros(labels.shape, np.uint64)
    for label in range(1, labels.max() + 1):
        where = np.argwhere(labels == label)
        out[labels == label] = 1 + gid(triple(where[0]))
    return out


def whole(
    mask: NDArray[np.bool_],
    absent: NDArray[np.bool_],
    rule: ObjectRule,
) -> NDArray[np.uint64]:
    """Components, holes, size limits: of the whole mask at once."""
    touching = ndimage.generate_binary_structure(3, RANK[rule.connectivity])
    faces = ndimage.generate_binary_structure(3, 1)
    back, count = ndimage.label(~mask, faces)
    shell = np.ones(mask.shape, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    outside = set(back[shell | absent].tolist())
    holes = [h for h in range(1, count + 1) if h not in outside]
    if rule.fill_holes == "all":
        mask = mask | np.isin(back, holes)
    labels = ndimage.label(mask, touching)[0]
    filled = labels.copy()
    if rule.fill_holes == "one":
        for hole in holes:
            beside = set(labels[ndimage.binary_dilation(back == hole, faces)].tolist()) - {0}
            if len(beside) == 1:
                filled[back == hole] = beside.pop()
    voxels = np.bincount(filled.ravel())
    gone = (voxels < rule.least) | (voxels > rule.most)
    filled[gone[filled]] = 0
    named = rename(labels)  # a hole does not change a name
    names = np.zeros(labels.max() + 1, np.uint64)
    names[labels] = named
    return np.where(filled == 0, np.uint64(0), names[filled])


def random_volume(rng: np.random.Generator, top: int = 22) -> NDArray[np.bool_]:
    """A volume of noise, lumps or shells, sometimes with an object in its first corner."""
    shape = tuple(int(n) for n in rng.integers(1, top + 1, 3))
    kind = rng.integers(3)
    field = rng.random(shape)
    if kind:
        field = ndimage.gaussian_filter(field, rng.uniform(0.6, 1.6))
    mask = field > np.quantile(field, rng.uniform(0.3 if kind else 0.03, 0.9))
    if kind == 2:
        mask &= ~ndimage.binary_erosion(mask)
    if rng.random() < 0.3:
        mask[0, 0, 0] = True
    return mask


def random_grid(rng: np.random.Generator, shape: Index) -> Grid:
    """At most 4 to 6 chunks along an axis of usual length: more only cost time."""
    return Grid(shape, triple(rng.integers(max(1, n // 5), max(2, n) + 1) for n in shape))


def random_absent(rng: np.random.Generator, grid: Grid) -> set[Index]:
    if rng.random() < 0.6:
        return set()
    indices = list(grid.indices())
    return {indices[i] for i in rng.integers(len(indices), size=1 + len(indices) // 8)}


def absence(grid: Grid, absent: set[Index]) -> NDArray[np.bool_]:
    out = np.zeros(grid.extent, bool)
    for index in absent:
        out[grid.box(index).slices()] = True
    return out


def block_of(
    volume: NDArray[Any], grid: Grid, index: Index, absent: set[Index], rule: ObjectRule
) -> tuple[Patch, Box]:
    """What refine is given for one chunk; absent voxels read as 0."""
    box = grid.block(index, rule.halo)
    gone = tuple(grid.box(i) for i in grid.covering(box) if i in absent)
    seen = np.where(absence(grid, absent), 0, volume)
    return Patch(seen[box.slices()], box, gone), grid.box(index)


def cut(
    volume: NDArray[Any], grid: Grid, index: Index, absent: set[Index], rule: ObjectRule
) -> tuple[NDArray[np.uint64], Arrays]:
    return cut_fragments(*block_of(volume, grid, index, absent, rule), rule)


def one_box(array: NDArray[Any]) -> Box:
    return Box((0, 0, 0), array.shape)
