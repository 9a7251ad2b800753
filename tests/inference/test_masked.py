"""A chunk that is absent and a mask that is 0 are the same to a network."""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.services.inference.seen import View, predict_raw

from ..support.engines import TinyEngine


class Counting(TinyEngine):
    """Counts the tiles that it runs."""

    count = 0

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.count += 1
        return super().infer(tile)


BOX = Box((0, 0, 0), (24, 24, 24))  # 27 tiles of 8 voxels
RAW = np.random.default_rng(6).integers(1, 255, BOX.shape).astype(np.uint8)


def tiles_run(hole: Box | None, *, mask: bool = False, absent_value: float | None = None) -> int:
    engine, raw = Counting(("mito",), output=8), RAW.copy()
    imaged = np.ones(BOX.shape, np.uint8)
    holes = () if hole is None or mask or absent_value is not None else (hole,)
    if hole is not None:
        raw[hole.slices()] = 0
        imaged[hole.slices()] = 0
    given = Patch(imaged, BOX) if mask else None
    found = predict_raw(
        Patch(raw, BOX, holes), BOX, engine, View((0, 255), False, absent_value), given
    )
    whole = predict_raw(Patch(raw, BOX), BOX, Counting(("mito",), output=8), View((0, 255)))
    if hole is not None:
        assert not found[0][hole.slices()].any()
        far = Box((0, 0, 17), BOX.shape)
        assert np.array_equal(found[0][far.slices()], whole[0][far.slices()])
    return engine.count


def test_tiles_that_yield_absent_voxels_alone_are_not_run() -> None:
    hole = Box((0, 0, 0), (24, 24, 16))  # 18 of the tiles
    assert tiles_run(None) == 27
    assert tiles_run(hole) == tiles_run(hole, mask=True) == tiles_run(hole, absent_value=0) == 9
    assert tiles_run(Box((0, 0, 0), (24, 24, 15))) == 18  # one voxel more is needed


def test_a_chunk_that_is_absent_runs_no_tile() -> None:
    engine = Counting(("mito",), output=8)
    found = predict_raw(Patch(np.zeros_like(RAW), BOX, (BOX,)), BOX, engine, View((0, 255)))
    assert engine.count == 0 and not found.any()


def test_an_absent_chunk_beside_a_mask_is_as_if_masked() -> None:
    engine = TinyEngine(("mito",), output=8)
    box, hole = Box((0, 0, 0), (24, 24, 24)), Box((8, 0, 8), (16, 8, 24))
    raw = np.random.default_rng(6).integers(0, 255, box.shape).astype(np.uint8)
    mask = (np.random.default_rng(7).random(box.shape) < 0.9).astype(np.uint8)
    raw[hole.slices()] = 0
    masked = mask.copy()
    masked[hole.slices()] = 0
    view = View((0, 255))
    one = predict_raw(Patch(raw, box, (hole,)), box, engine, view, Patch(mask, box))
    other = predict_raw(Patch(raw, box), box, engine, view, Patch(masked, box))
    assert np.array_equal(one, other)
    assert not one[0][masked == 0].any()
    assert one[0][masked > 0].any()
    raw[masked == 0] = 77  # whatever raw holds there
    assert np.array_equal(
        predict_raw(Patch(raw, box), box, engine, view, Patch(masked, box)), other
    )
