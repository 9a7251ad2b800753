"""Masks and objects in blocks are those of the whole."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fibstream.app.evaluation.masks import Scratch, compare
from fibstream.app.evaluation.objects import CutMask, Labelled, matching, named
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.kernels.edt import across_planes, picometres, plane_squares
from fibstream.kernels.matching import match_objects, matched_scores
from fibstream.kernels.metrics import agreement, metrics
from fibstream.kernels.scores import Pairs, count_pairs

from ...support.geometry import triple

VOXEL = (8.0, 4.0, 4.0)
Mask = np.ndarray


def blobs(seed: int, shape: Index) -> Mask:
    rng = np.random.default_rng(seed)
    smooth = ndimage.uniform_filter(rng.random(shape), 3)
    return smooth > np.quantile(smooth, 0.8)


@pytest.mark.parametrize("seed", range(12))
def test_slabs_agree_as_the_whole_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = triple(rng.integers(1, 15, 3))
    truth, test, annotated = blobs(seed, shape), blobs(seed + 99, shape), blobs(seed + 9, shape)
    counted = (lambda box: annotated[box.slices()]) if seed % 2 else None
    found = compare(
        lambda box: truth[box.slices()], lambda box: test[box.slices()], shape, VOXEL,
        counted=counted, slab=int(rng.integers(1, 300)), most_in_memory=int(rng.choice((0, 9999))),
    )  # fmt: skip
    edges = picometres(VOXEL, shape)
    inside = [m & annotated if seed % 2 else m for m in (truth, test)]
    squares = [across_planes(plane_squares(m, edges), edges) for m in inside]
    assert found == agreement(squares[0], squares[1], annotated if seed % 2 else None)


def test_a_scratch_file_goes_with_its_scratch() -> None:
    with Scratch(most_in_memory=0) as scratch:
        array = scratch.array((2, 3, 4), np.int64)
        assert isinstance(array, np.memmap)
        path = array.filename
        assert path is not None
        assert not array.any()
    assert not Path(path).exists()


def test_what_no_disk_holds_is_refused() -> None:
    with Scratch() as scratch, pytest.raises(WrongUse, match="set TMPDIR to a larger disk"):
        scratch.array((2**20, 2**20, 2**20), np.int64)


@pytest.mark.parametrize("seed", range(8))
def test_pieces_cut_in_blocks_are_those_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = triple(rng.integers(6, 20, 3))
    mask = blobs(seed, shape)
    ids = ndimage.label(blobs(seed + 50, shape))[0].astype(np.uint64)
    pieces = ndimage.label(mask)[0].astype(np.uint64)
    grid = Grid(shape, triple(rng.integers(2, 9, 3)))
    with Scratch() as scratch:
        one, two = CutMask(scratch, shape), Labelled(lambda box: ids[box.slices()])
        numbers = Pairs()
        for index in grid.indices():
            box = grid.box(index)
            inside = mask[box.slices()].view(np.uint8)
            numbers += count_pairs(
                one.add(index, box, inside), two.add(index, box, ids[box.slices()])
            )
        pairs = named(numbers, one, two)
        found = matching(pairs, one, two, VOXEL)
    whole = count_pairs(pieces, ids)
    assert sorted(pairs.values()) == sorted(whole.values())
    matches = match_objects(whole)
    apart = [hausdorff(pieces == m.truth, ids == m.test) for m in matches]
    assert found == pytest.approx(matched_scores(whole, matches, apart, VOXEL))


def hausdorff(one: Mask, two: Mask) -> float:
    edges = picometres(VOXEL, one.shape)
    squares = [across_planes(plane_squares(m, edges), edges) for m in (one, two)]
    return metrics(agreement(squares[0], squares[1], None))["hausdorff"]
