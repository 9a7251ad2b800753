"""Predictions of lumps that touch, the algorithm on the whole volume, and its fold."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Box, Grid, Index
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.mapping import encode_mapping
from fibstream.kernels.relabel import relabel
from fibstream.kernels.smooth import smooth
from fibstream.kernels.watershed.agglomerate import agglomerate
from fibstream.kernels.watershed.basins import HIGHEST, OUTSIDE, find_basins, paint_ends
from fibstream.kernels.watershed.saddles import SaddleGraph, find_saddles
from fibstream.kernels.watershed.split import SplitFold
from fibstream.services.refine import descent
from fibstream.services.refine.recipe import find_recipe, resolve
from fibstream.services.refine.recipes.agglomerated import AgglomeratedSettings
from fibstream.services.refine.rule import ObjectRule, threshold_level

from .streamed import dataset_of
from .whole import VOXEL, absence, one_box, random_absent, random_grid, random_volume

VOXEL_NM3 = 8 * 4 * 4
CONNECTIVITIES: tuple[Connectivity, ...] = (6, 18, 26)
FACES = ndimage.generate_binary_structure(3, 1)


class Case:
    """A prediction of lumps that touch, a grid, absent chunks, and settings."""

    def __init__(self, seed: int, connectivity: Connectivity, smooth_nm: float) -> None:
        self.rng = rng = np.random.default_rng(seed)
        lumps = random_volume(rng, 14)
        if seed % 2:  # holes, of one voxel and of several
            lumps &= np.random.default_rng([seed]).random(lumps.shape) > 0.05
        self.grid = random_grid(rng, lumps.shape)
        self.absent = random_absent(rng, self.grid)
        self.gone = absence(self.grid, self.absent)
        noise = rng.integers(0, rng.choice([3, 60, 129]), lumps.shape)
        self.values = np.where(self.gone, 0, np.where(lumps, 255 - noise, noise)).astype(np.uint8)
        self.settings = {
            "smooth_nm": smooth_nm, "connectivity": connectivity,
            "threshold_nm": float(rng.choice([0, -30])),  # 127, and 58: it spreads when smoothed
            "quantile": int(rng.integers(0, 101)),
            "merge_below": float(rng.choice([0, 0.3, 0.9, 1])),
            "min_depth": float(rng.choice([0, 0.5, 20])),
            "min_volume_nm3": float(rng.integers(0, 4)) * VOXEL_NM3,
            "max_volume_nm3": [None, 200.0 * VOXEL_NM3][rng.integers(2)],
            "fill_holes": ["none", "one", "all"][seed % 3],
        }  # fmt: skip
        self.made = dataset_of(self.grid, "agglomerated", {"prediction": "p"}, self.settings)
        indices = list(self.grid.indices())
        self.order = [indices[i] for i in rng.permutation(len(indices))]

    @property
    def given(self) -> AgglomeratedSettings:
        found = resolve("agglomerated", self.settings)
        assert isinstance(found, AgglomeratedSettings)
        return found

    def graph(self) -> tuple[NDArray[np.uint64], SaddleGraph]:
        """The ends of descent in the whole volume, and their saddle graph."""
        given, box = self.given, one_box(self.values)
        sigma = tuple(given.smooth_nm / edge for edge in VOXEL)
        smoothed = self.values.astype(np.uint16) << np.uint16(7)
        if given.smooth_nm:
            smoothed = smooth(self.values, (sigma[0], sigma[1], sigma[2]), box)
        level = threshold_level(given.threshold_nm, 50.0)
        relief = np.where(smoothed >= level, HIGHEST - smoothed, OUTSIDE).astype(np.uint16)
        relief[self.gone] = OUTSIDE
        basins = find_basins(relief, box, box, given.connectivity)
        return paint_ends(basins), find_saddles(basins, given.connectivity)

    def whole(self) -> NDArray[np.uint64]:
        """The algorithm on the whole volume, by kernels that tests of their own check."""
        given, (ends, graph) = self.given, self.graph()
        objects = agglomerate(graph, given.agglomeration)
        labels = relabel(ends, graph.basin, encode_mapping(graph.basin, objects))
        labels = self.filled(labels, given.fill_holes)
        ids, voxels = np.unique(labels, return_counts=True)
        most = given.max_volume_nm3 or np.inf
        wrong = (voxels * VOXEL_NM3 < given.min_volume_nm3) | (voxels * VOXEL_NM3 > most)
        labels[np.isin(labels, ids[wrong])] = 0
        return labels

    def filled(self, labels: NDArray[np.uint64], fill_holes: str) -> NDArray[np.uint64]:
        """The whole volume with its holes filled, hole by hole."""
        labels = labels.copy()
        around = holes(labels, self.gone) if fill_holes != "none" else []
        if fill_holes == "all":
            for where, _ in around:
                beside = labels[_beside(where)]
                labels[np.isin(labels, beside)] = beside.min()
            around = [(where, {int(labels[_beside(where)].min())}) for where, _ in around]
        for where, objects in around:
            if len(objects) == 1:
                labels[where] = min(objects)
        return labels

    def rule(self) -> ObjectRule:
        from fibstream.services.refine.recipes.agglomerated import _rule

        return _rule(*self.made)

    def chunks(self, values: NDArray[np.uint8]) -> dict[Index, tuple[NDArray[np.uint64], Arrays]]:
        return {i: descent.cut_basins(*self.block(values, i), self.rule())
                for i in self.grid.indices()}  # fmt: skip

    def block(self, values: NDArray[np.uint8], index: Index) -> tuple[Patch, Box]:
        stage = find_recipe("agglomerated").stages(*self.made)[0]
        box = self.grid.block(index, stage.inputs[0].halo)
        gone = tuple(self.grid.box(i) for i in self.grid.covering(box) if i in self.absent)
        return Patch(values[box.slices()], box, gone), self.grid.box(index)

    def fold(self, giant: int | None = None) -> SplitFold:
        rule = self.rule()
        return SplitFold(
            self.given.agglomeration, self.grid, least=rule.least, most=rule.most, giant=giant
        )


def _beside(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    beside: NDArray[np.bool_] = ndimage.binary_dilation(where, FACES) & ~where
    return beside


def holes(
    labels: NDArray[np.uint64], gone: NDArray[np.bool_]
) -> list[tuple[NDArray[np.bool_], set[int]]]:
    """Background that reaches neither border nor absent voxels, and the objects beside it."""
    back, count = ndimage.label(labels == 0, FACES)
    shell = np.ones(labels.shape, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    outside = set(back[shell | gone].tolist())
    inner = [back == n for n in range(1, count + 1) if n not in outside]
    return [(where, set(labels[_beside(where)].tolist())) for where in inner]


def sizes(labels: NDArray[np.uint64]) -> dict[int, int]:
    ids, voxels = np.unique(labels[labels > 0], return_counts=True)
    return dict(zip(ids.tolist(), voxels.tolist(), strict=True))


def painted(
    fold: SplitFold, grid: Grid, chunks: dict[Index, tuple[NDArray[np.uint64], Arrays]]
) -> NDArray[np.uint64]:
    out = np.zeros(grid.extent, np.uint64)
    for index, (ends, summary) in chunks.items():
        out[grid.box(index).slices()] = relabel(ends, summary["ids"], fold.mapping(index))
    return out
