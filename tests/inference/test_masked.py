"""A chunk that is absent and a mask that is 0 are the same to a network."""

import numpy as np

from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.services.inference.seen import View, predict_raw

from ..support.engines import TinyEngine


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
