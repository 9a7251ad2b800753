"""Labels that are known to be right: what the labels of a dataset are compared with."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from fibstream.core.dataset import Dataset, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.kernels.scores import Overlap, Pairs, count, count_pairs, instance_scores, scores
from fibstream.volumes.positions import Place, check_same_grid, position_at
from fibstream.volumes.sources import Source, open_volume

from .hashes import Track
from .planes import shapes
from .sampling import confused_note

log = logging.getLogger(__name__)

BLOCK: Index = (128, 128, 128)  # voxels that are compared with a truth at a time


def open_truths(
    paths: Mapping[str, str], dataset: Dataset, names: Sequence[str]
) -> dict[str, Source]:
    """Return the truths, opened; raise WrongUse for one that does not fit the dataset."""
    if paths and not dataset.grid.sealed:
        raise WrongUse(f"--truth: {dataset.name} is open, its extent in z is not known yet")
    size = dataset.voxel_size_nm
    place = Place(dataset.name, dataset.grid.extent, size, position_at(dataset.offset_nm, size))
    found = {}
    for name, path in paths.items():
        if name not in names:
            raise WrongUse(f"--truth {name}: no such organelle; expected {', '.join(names)}")
        found[name] = open_truth(path, place)
    return found


def open_truth(path: str, place: Place | Source) -> Source:
    """Return a truth, opened; raise WrongUse for one that does not lie where ``place`` does."""
    source = open_volume(path, kind="labels", voxel_size_nm=place.voxel_size_nm)
    try:
        check_same_grid(place, source)
    except WrongUse as error:
        raise WrongUse(f"--truth {path}: {error}") from None
    if note := confused_note(source):
        log.warning("%s", note)
    return source


def scored(group: Path, truth: Source, track: Track) -> dict[str, float]:
    """Return how well labels agree with the truth, by voxels and, where it has several, objects.

    What is not stored yet counts as background; without an array of labels there are no scores.
    """
    if not shapes(group):
        return {}
    size = truth.voxel_size_nm
    labels = open_volume(f"{group}/s0", kind="labels", voxel_size_nm=size, growing=True)
    grid, counts, pairs = Grid(truth.shape, clip_chunk(BLOCK, truth.shape)), Overlap(), Pairs()
    for index in track(list(grid.indices()), "compared"):
        a, b = truth.read(grid.box(index)), labels.read(grid.box(index))
        counts += count(a, b)
        pairs += count_pairs(a, b)
    labels.close()
    found = {name: scores(counts)[name] for name in ("dice", "iou", "precision", "recall")}
    if len({a for a, _ in pairs if a}) > 1:  # a mask has no objects
        found["F1 of objects"] = instance_scores(pairs)["f1"]
    return found
