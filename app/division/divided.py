"""What became of components that a recipe divides: they, their fragments and objects, in any box.

Fragments are those that are stored; what they are part of follows from the stored summaries, by the
functions that refine itself uses.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, clip_chunk
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.ports import Files
from fibstream.core.stage import Input
from fibstream.kernels.mapping import encode_mapping
from fibstream.kernels.relabel import relabel
from fibstream.kernels.scores import Pairs, count_pairs, instance_scores
from fibstream.kernels.watershed.traced import LEVELS, Level, Trace, trace
from fibstream.services.refine.recipe import find_recipe
from fibstream.store.store import Blob, Store
from fibstream.volumes.sources import Source, open_volume

from ..hashes import Track, untracked
from ..planes import shapes

BLOCK: Index = (128, 128, 128)  # voxels that are compared with a truth at a time
COMPONENT, FRAGMENT, OBJECT = (LEVELS.index(level) for level in ("component", "fragment", "object"))
Ids = NDArray[np.uint64]


class Shares(NamedTuple):
    """What a component is divided into: its fragments, and those of its objects that are kept."""

    fragments: int
    objects: tuple[int, ...]


class Divided:
    """Components, fragments and objects of an organelle; those below the least size are left out.

    Parameters
    ----------
    fragments
        The stored ends of descent, uint64 ``(z, y, x)``.
    grid
        Of the dataset.
    basins
        By chunk, the ids of its summary, uint64 ``(n,)``.
    found
        What they are part of.
    least
        Voxels of the smallest object: a smaller component is none.
    objects
        Those that are kept: of the table.
    """

    def __init__(
        self, fragments: Source, grid: Grid, basins: Mapping[Index, Ids], found: Trace,
        least: int, objects: Sequence[int],
    ) -> None:  # fmt: skip
        self._fragments, self._grid, self._basins = fragments, grid, basins
        self._names = found.names
        self.voxels = found.voxels
        self._kept = {c for c, voxels in found.voxels[COMPONENT].items() if voxels >= least}
        self.objects = frozenset(objects)
        self.shares = self._shared()
        small = np.array(sorted(found.voxels[COMPONENT].keys() - self._kept), np.uint64)
        self._small = small

    def _shared(self) -> dict[int, Shares]:
        """Return what each component is divided into."""
        every = np.concatenate([np.zeros((len(LEVELS), 0), np.uint64), *self._names.values()], 1)
        found: list[dict[int, list[int]]] = []
        for level in (FRAGMENT, OBJECT):
            parts: dict[int, list[int]] = {}
            pairs: NDArray[Any] = np.unique(every[[COMPONENT, level]], axis=1)
            for component, part in pairs.T.tolist():
                if part:  # not a hole that is left empty
                    parts.setdefault(component, []).append(part)
            found.append(parts)
        return {
            c: Shares(len(found[0][c]), tuple(o for o in found[1][c] if o in self.objects))
            for c in sorted(self._kept)
            if c in found[0]
        }

    @property
    def fragments(self) -> int:
        """How many fragments there are."""
        return sum(each.fragments for each in self.shares.values())

    def read(self, box: Box, level: Level) -> Ids:
        """Return the names in a box, uint64 ``(z, y, x)``; 0 outside components, and unknown."""
        out = np.zeros(box.shape, np.uint64)
        for index in self._grid.covering(box):
            if index in self._names:
                part = self._grid.box(index).meet(box)
                names, ids = self._names[index], self._basins[index]
                kept = ~np.isin(names[COMPONENT], self._small)
                labels = np.where(kept, names[LEVELS.index(level)], np.uint64(0))
                ends = self._fragments.read(part).astype(np.uint64, copy=False)
                out[part.slices(box.start)] = relabel(ends, ids, encode_mapping(ids, labels))
        return out

    def close(self) -> None:
        """Close what it reads."""
        self._fragments.close()


def open_divided(
    out: Path, dataset: Dataset, files: Files, name: str, objects: Sequence[int]
) -> Divided | None:
    """Open what became of the components of an organelle; None where nothing divides them.

    Nor is there anything before the first fragments are stored. Raises Changed or Poison where
    a growing dataset changes under the reader.
    """
    organelle = next((o for o in dataset.organelles if o.name == name), None)
    recipe = None if organelle is None else find_recipe(organelle.recipe)
    group = f"fragments/{name}"
    if recipe is None or organelle is None or recipe.division is None or not shapes(out / group):
        return None
    division, store = recipe.division(dataset, organelle), Store(files, dataset.grid)
    source = Input(group, f"summaries/{group}")
    hashes = {
        index: stamp.hash
        for index in sorted(store.chunks(group))
        if (stamp := store.stamp(Blob(source.name, index))) is not None
    }
    basins = dict[Index, Ids]()

    def read(index: Index) -> dict[str, NDArray[Any]]:
        summary = store.read_summary(source, index, hashes[index])
        basins[index] = summary["ids"]
        return summary

    found = trace(list(hashes), read, division.rule)
    opened = open_volume(
        f"{out / group}/s0", kind="labels", voxel_size_nm=dataset.voxel_size_nm, growing=True
    )
    return Divided(opened, dataset.grid, basins, found, division.least, objects)


def before_and_after(
    divided: Divided, labels: Path, truth: Source, track: Track = untracked
) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return the scores of components and of the labels as objects; None of a truth without them.

    Raises nothing of its own. ``labels`` is the group of the stored labels.
    """
    size = truth.voxel_size_nm
    stored = open_volume(f"{labels}/s0", kind="labels", voxel_size_nm=size, growing=True)
    grid = Grid(truth.shape, clip_chunk(BLOCK, truth.shape))
    before, after = Pairs(), Pairs()
    for index in track(list(grid.indices()), "objects compared"):
        box = grid.box(index)
        wanted = truth.read(box)
        before += count_pairs(wanted, divided.read(box, "component"))
        after += count_pairs(wanted, stored.read(box))
    stored.close()
    if len({a for a, _ in before if a}) < 2:  # a mask has no objects
        return None
    return instance_scores(before), instance_scores(after)
