"""Two volumes compared where both lie: voxels, distances, and objects."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid, Halo, Index
from fibstream.kernels import scores as scoring
from fibstream.kernels.edt import picometres, within
from fibstream.kernels.matching import adjusted_rand
from fibstream.kernels.metrics import METRICS, PUBLISHED, Limits, metrics
from fibstream.volumes.positions import Common
from fibstream.volumes.sources import Source

from ..hashes import Track
from .masks import Scratch, compare
from .objects import CutMask, Labelled, ReadIds, matching, named

log = logging.getLogger(__name__)

BLOCK: Index = (128, 128, 128)  # voxels compared at a time
FULL = 0.95  # of the voxels: no organelle fills so much of a volume
SIDES = ("truth", "test")
Voxels = NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """A truth and what is scored.

    ``threshold``: values of the test from here on are inside; without one it holds labels.
    ``mask``: which voxels of the truth are annotated, on its grid. ``sized``: whether the voxel
    size is one that a file or a flag states, so that there are distances. ``dilate_nm``: the truth
    was drawn that much too thin.
    """

    truth: Source
    test: Source
    met: Common
    track: Track
    threshold: float | None = None
    mask: Source | None = None
    sized: bool = True
    limits: Limits = PUBLISHED
    dilate_nm: float = 0.0

    def scores(self, *, instances: bool) -> dict[str, Any]:
        """Return the scores of voxels, where they were compared, and scores of objects."""
        counts, pairs = scoring.Overlap(), scoring.Pairs()
        unclear, values = not instances and self._is_unclear(), set[float]()
        for _, box, a, b in self._blocks("compared"):
            if unclear:
                self._check_one_value(b, values)
            counts += self._count(box, a, b)
            if instances:
                pairs += scoring.count_pairs(a, b)
        if self.mask is not None and not counts.size:
            raise WrongUse(f"mask {self.mask.name}: no voxel that is compared is annotated")
        self._note_full(counts)
        found: dict[str, Any] = dict(scoring.scores(counts))
        found["compared"] = {
            "shape": list(self.met.shape),
            "voxel_size_nm": list(self.met.voxel_size_nm),
            "truth_from": self._first(0),
            "test_from": self._first(1),
        } | ({"truth_dilated_nm": self.dilate_nm} if self.dilate_nm else {})
        self._note_cut()
        found["metrics"] = self._metrics()
        if instances:
            found["instances"] = self._instances(pairs)
        return found

    # -- reading ---------------------------------------------------------------------------------

    def _blocks(self, what: str) -> Iterator[tuple[Index, Box, Voxels, Voxels]]:
        """Yield the blocks of the common box in raster order: ids of the truth and of the test."""
        grid = Grid(self.met.shape, clip_chunk(BLOCK, self.met.shape))
        for index in self.track(list(grid.indices()), what):
            box = grid.box(index)
            yield index, box, self._ids(0, box), self._ids(1, box)

    def _ids(self, side: int, box: Box) -> Voxels:
        """Return ids of truth (0) or test (1), 0 outside and where nothing is annotated."""
        source = (self.truth, self.test)[side]
        fetch = source.read if side or not self.dilate_nm else self._dilated
        voxels = self.met.parts[side].read(fetch, box)
        if side and self.threshold is not None:
            voxels = (voxels >= self.threshold).view(np.uint8)
        return voxels if self.mask is None else np.where(self._annotated(box), voxels, 0)

    def _dilated(self, box: Box) -> Voxels:
        """Return the truth in a box of its own voxels, 1 within ``dilate_nm`` of what is annotated.

        Distances are those on its own voxels, as published, whatever it is compared with.
        """
        edges = picometres(self.truth.voxel_size_nm, self.truth.shape)
        reach = round(1000 * self.dilate_nm)
        z, y, x = (reach // edge for edge in edges)
        whole = Box((0, 0, 0), self.truth.shape)
        wide = box.grow(Halo((z, y, x), (z, y, x))).meet(whole)
        inside = self.truth.read(wide) != 0
        if self.mask is not None:
            inside &= self.mask.read(wide) != 0
        return within(inside, edges, reach)[box.slices(wide.start)].view(np.uint8)

    def _annotated(self, box: Box) -> NDArray[np.bool_]:
        assert self.mask is not None
        marked: NDArray[np.bool_] = self.met.parts[0].read(self.mask.read, box) != 0
        return marked

    # -- voxels ----------------------------------------------------------------------------------

    def _count(self, box: Box, truth: Voxels, test: Voxels) -> scoring.Overlap:
        """Count the voxels of a block, those that are annotated."""
        if self.mask is None:
            return scoring.count(truth, test)
        annotated = self._annotated(box)
        return scoring.count(truth[annotated], test[annotated])

    def _is_unclear(self) -> bool:
        """Whether the test may be labels, or values of a prediction: nothing states which."""
        kinds = self.test.dtype == np.uint8 or self.test.dtype.kind == "f"
        return self.threshold is None and not self.test.declared and kinds

    def _check_one_value(self, test: Voxels, values: set[float]) -> None:
        """Raise WrongUse where a block shows that what is no mask may be a prediction.

        A mask has one value beside 0, and is labels whatever it is called.
        """
        values |= set(np.unique(test[test != 0])[:2].tolist())
        if len(values) > 1:
            raise WrongUse(
                f"{self.test.name} is {self.test.dtype}, and nothing states what it holds: "
                "give --threshold for a prediction (127 is the surface of distances), or "
                "--instances for numbers of objects"
            )

    def _metrics(self) -> dict[str, float | None]:
        """Return the 21 metrics; None where one has no value, none without a voxel size."""
        if not self.sized:
            log.warning("no metrics of distance without a voxel size: give --voxel-size-nm Z,Y,X")
            return {}
        found = compare(
            lambda box: self._ids(0, box) != 0, lambda box: self._ids(1, box) != 0,
            self.met.shape, self.met.voxel_size_nm,
            counted=None if self.mask is None else self._annotated, track=self.track,
        )  # fmt: skip
        values = metrics(found, self.limits)
        return {name: None if math.isnan(values[name]) else values[name] for name in METRICS}

    def _note_full(self, counts: scoring.Overlap) -> None:
        """Log a volume that is inside nearly everywhere, or nowhere: as by a wrong threshold."""
        size = counts.size
        sides = (self.truth, counts.tp + counts.fn), (self.test, counts.tp + counts.fp)
        for source, inside in sides:
            if inside > FULL * size:
                log.warning("%s: %.3g %% of it counts as inside; grey values need --threshold, "
                            "fine ids --class", source.name, 100 * inside / size)  # fmt: skip
            if not inside:
                log.warning("%s: nothing of it counts as inside", source.name)

    def _first(self, part: int) -> list[float]:
        """Return the first voxel that was compared, in voxels of the volume itself."""
        chosen = self.met.parts[part]
        return [s / f for s, f in zip(chosen.start, chosen.factors, strict=True)]

    def _note_cut(self) -> None:
        """Log how much of each volume was left out, if anything was."""
        for source, part in zip((self.truth, self.test), self.met.parts, strict=True):
            own = [n * f for n, f in zip(source.shape, part.factors, strict=True)]
            share = float(np.prod(self.met.shape, dtype=float) / np.prod(own, dtype=float))
            if share < 1:
                log.warning("%s: %.3g %% of it is compared, where both lie", source.name,
                            100 * share)  # fmt: skip

    # -- objects ---------------------------------------------------------------------------------

    def _instances(self, pairs: scoring.Pairs) -> dict[str, Any]:
        """Return the scores of objects; a mask is first cut into its connected pieces."""
        counts = [len({pair[side] for pair in pairs} - {0}) for side in (0, 1)]
        masks = [side for side in (0, 1) if counts[side] == 1]
        with Scratch() as scratch:
            truth, test = (
                CutMask(scratch, self.met.shape) if side in masks else Labelled(self._reader(side))
                for side in (0, 1)
            )
            numbers = scoring.Pairs()
            for index, box, a, b in self._blocks("matched"):
                numbers += scoring.count_pairs(truth.add(index, box, a), test.add(index, box, b))
            found = named(numbers, truth, test)
            self._note_pieces(masks, found)
            scores: dict[str, Any] = dict(scoring.instance_scores(found))
            rand = adjusted_rand(found)
            scores["adjusted_rand"] = None if math.isnan(rand) else rand
            if self.sized:
                size = self.met.voxel_size_nm
                scores["matching"] = matching(found, truth, test, size, self.track)
        return scores | {"pieces_of": [SIDES[side] for side in masks]}

    def _reader(self, side: int) -> ReadIds:
        return lambda box: self._ids(side, box)

    def _note_pieces(self, masks: Sequence[int], pairs: scoring.Pairs) -> None:
        for side in masks:
            source, count = (self.truth, self.test)[side], len({p[side] for p in pairs} - {0})
            if count > 1:
                log.warning(
                    "%s has one number for all objects: its %d connected pieces are compared",
                    source.name, count,
                )  # fmt: skip
