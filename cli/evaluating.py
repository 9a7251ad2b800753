"""The work of `fibstream evaluate`: two volumes compared by position, where both lie."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.kernels import scores as scoring
from fibstream.kernels.pieces import Pieces
from fibstream.volumes.lengths import Size, agree, size_text
from fibstream.volumes.positions import Common, common
from fibstream.volumes.sources import Source, open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from .oneshot import BLOCK
from .progress import track

log = logging.getLogger(__name__)

FULL = 0.95  # of the voxels: no organelle fills so much of a volume
SIDES = ("truth", "test")
UNSIZED: Size = (1.0, 1.0, 1.0)  # compared by identity: of a volume that states no voxel size


def evaluate_volumes(
    truth: str, test: str, *, threshold: float | None, instances: bool, voxel_size_nm: Size | None,
    begins_nm: Size | None = None,
) -> Mapping[str, Any]:  # fmt: skip
    """Return the scores of a segmentation; those of its objects have names of their own.

    ``voxel_size_nm`` is that of a volume that states none; ``begins_nm`` leads from the corner of
    the test volume to that of the truth, where the files do not state their places.
    """
    # Labels first: of a dataset they are what is scored, and no label is negative.
    ids: tuple[Kind, ...] = ("labels",) if instances else ("labels", "any")
    # Opened as a prediction, bytes of COSEM's other scale are converted.
    scored: tuple[Kind, ...] = ids if threshold is None else ("prediction", "any")
    one, two = _open(truth, voxel_size_nm, ids), _open(test, voxel_size_nm, scored)
    with closing(one), closing(two):
        if threshold is not None:
            _check_threshold(threshold, two)
        elif two.declared == "prediction":
            raise WrongUse(
                f"{two.name} states that it is a prediction: give --threshold, of distances 127, "
                "which is the surface"
            )
        if one.declared == "prediction":
            raise WrongUse(f"{one.name} states that it is a prediction; expected labels as truth")
        _settle_sizes(one, two, voxel_size_nm)
        met = common(one, two, begins_nm=begins_nm)
        return _Comparison(one, two, met, threshold).scores(instances=instances)


def _open(path: str, given: Size | None, kinds: Sequence[Kind]) -> Source:
    """Open a volume; its size is the one given where it may be, else its own, else ``UNSIZED``."""
    wrong = []
    for kind, size in product(kinds, dict.fromkeys((given, None, UNSIZED))):
        try:
            source = open_volume(path, kind=kind, voxel_size_nm=size)
        except WrongUse as error:
            wrong.append(error)
            continue
        if size is UNSIZED:
            source.voxel_size_nm = UNSIZED
        return source
    raise wrong[0]


def _check_threshold(threshold: float, test: Source) -> None:
    """Raise WrongUse for a threshold that divides no values of the volume's type."""
    given = f"--threshold {threshold:g}"
    if not np.isfinite(threshold):
        raise WrongUse(f"{given}: expected a finite number")
    if test.dtype.kind in "ui":
        limits = np.iinfo(test.dtype)
        if not limits.min < threshold <= limits.max:
            raise WrongUse(
                f"{given}: {test.name} is {test.dtype}; expected a value above {limits.min}, up to "
                f"{limits.max}"
            )


def _settle_sizes(one: Source, two: Source, given: Size | None) -> None:
    """Give a volume without a voxel size that of the other; WrongUse where neither is the given."""
    stated = [s.voxel_size_nm for s in (one, two) if s.voxel_size_nm is not UNSIZED]
    if given is not None and not any(agree(given, size) for size in stated):
        raise WrongUse(
            f"--voxel-size-nm {size_text(given)}: {one.name} has voxels of "
            f"{size_text(one.voxel_size_nm)} nm, {two.name} of {size_text(two.voxel_size_nm)} nm"
        )
    for source, other in ((one, two), (two, one)):
        if source.voxel_size_nm is UNSIZED and stated:
            if source.shape != other.shape:
                raise WrongUse(
                    f"{source.name} states no voxel size, and is {source.shape}; {other.name} is "
                    f"{other.shape}: give --voxel-size-nm Z,Y,X, that of {source.name}"
                )
            source.voxel_size_nm = stated[0]


def _is_unclear(source: Source) -> bool:
    """Whether a volume may be labels, or values of a prediction: nothing declares which."""
    return not source.declared and (source.dtype == np.uint8 or source.dtype.kind == "f")


@dataclass(frozen=True)
class _Comparison:
    one: Source
    two: Source
    met: Common
    threshold: float | None

    def scores(self, *, instances: bool) -> dict[str, Any]:
        """Return the scores of voxels, where they were compared, and scores of objects."""
        counts, pairs = scoring.Overlap(), scoring.Pairs()
        by_id = instances and self.threshold is None
        unclear, found_values = self.threshold is None and not instances, set[float]()
        unclear = unclear and _is_unclear(self.two)
        for _, a, b in self._blocks("compared"):
            if unclear:  # a mask has one value beside 0, and is labels whatever it is called
                found_values |= set(np.unique(b[b != 0])[:2].tolist())
                if len(found_values) > 1:
                    raise WrongUse(
                        f"{self.two.name} is {self.two.dtype}, and nothing states what it holds: "
                        "give --threshold for a prediction (127 is the surface of distances), or "
                        "--instances for numbers of objects"
                    )
            counts += scoring.count(a, b, self.threshold)
            if by_id:
                pairs += scoring.count_pairs(a, b)
        self._note_full(counts)
        found: dict[str, Any] = dict(scoring.scores(counts))
        found["compared"] = {
            "shape": list(self.met.shape),
            "voxel_size_nm": list(self.met.voxel_size_nm),
            "truth_from": self._first(0),
            "test_from": self._first(1),
        }
        self._note_cut()
        if instances:
            found["instances"] = self._instances(pairs)
        return found

    def _note_full(self, counts: scoring.Overlap) -> None:
        """Log a volume that is inside nearly everywhere, or nowhere: as by a wrong threshold."""
        size = counts.tp + counts.fp + counts.fn + counts.tn
        for source, inside in (
            (self.one, counts.tp + counts.fn),
            (self.two, counts.tp + counts.fp),
        ):
            if inside > FULL * size:
                log.warning("%s: %.3g %% of it counts as inside; grey values need --threshold",
                            source.name, 100 * inside / size)  # fmt: skip
            if not inside:
                log.warning("%s: nothing of it counts as inside", source.name)

    def _first(self, part: int) -> list[float]:
        """Return the first voxel that was compared, in voxels of the volume itself."""
        chosen = self.met.parts[part]
        return [s / f for s, f in zip(chosen.start, chosen.factors, strict=True)]

    def _note_cut(self) -> None:
        """Log how much of each volume was left out, if anything was."""
        for source, part in zip((self.one, self.two), self.met.parts, strict=True):
            own = [n * f for n, f in zip(source.shape, part.factors, strict=True)]
            share = float(np.prod(self.met.shape, dtype=float) / np.prod(own, dtype=float))
            if share < 1:
                log.warning("%s: %.3g %% of it is compared, where both lie", source.name,
                            100 * share)  # fmt: skip

    def _instances(self, pairs: scoring.Pairs) -> dict[str, Any]:
        """Return the scores of objects; a mask is first cut into its connected pieces."""
        masks = self._masks(pairs)
        if masks:
            pairs = self._pairs_of_pieces(masks)
        for side in masks:
            source, count = (self.one, self.two)[side], len({pair[side] for pair in pairs} - {0})
            if count > 1:
                log.warning(
                    "%s has one number for all objects: its %d connected pieces are compared",
                    source.name, count,
                )  # fmt: skip
        return scoring.instance_scores(pairs) | {"pieces_of": [SIDES[side] for side in masks]}

    def _masks(self, pairs: scoring.Pairs) -> list[int]:
        """Return which of truth (0) and test (1) have one number for all objects, and no ids."""
        if self.threshold is None:
            return [side for side in (0, 1) if len({pair[side] for pair in pairs} - {0}) == 1]
        ids: set[int] = set()
        for _, a, _ in self._blocks("looked at"):
            ids |= set(np.unique(a[a != 0])[:2].tolist())
            if len(ids) > 1:
                return [1]
        return [0, 1] if ids else [1]

    def _pairs_of_pieces(self, masks: Sequence[int]) -> scoring.Pairs:
        pieces = {side: Pieces() for side in masks}
        pairs = scoring.Pairs()
        for index, a, b in self._blocks("matched"):
            ids = [a, b]
            inside = (a != 0, b != 0 if self.threshold is None else b >= self.threshold)
            for side, found in pieces.items():
                ids[side] = found.add(index, inside[side])
            pairs += scoring.count_pairs(*ids)
        names = {side: found.names() for side, found in pieces.items()}
        united = scoring.Pairs()
        for pair, voxels in pairs.items():
            one, two = (names[n][i] if n in names else i for n, i in enumerate(pair))
            united[one, two] += voxels
        return united

    def _blocks(self, what: str) -> Iterator[tuple[Index, NDArray[Any], NDArray[Any]]]:
        """Yield the blocks of the common box in raster order, truth and test."""
        grid = Grid(self.met.shape, clip_chunk(BLOCK, self.met.shape))
        one, two = self.met.parts
        for index in track(list(grid.indices()), what):
            box = grid.box(index)
            yield index, one.read(self.one.read, box), two.read(self.two.read, box)
