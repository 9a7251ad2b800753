"""The released network on real data: the slices that its training never read."""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fibstream.core.grid import Grid
from fibstream.core.stage import Patch
from fibstream.kernels.scores import count, scores
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.tiling import halo_of, predict

SHARED = Path(os.environ.get("FIBSTREAM_SHARED", "../shared"))
EPFL = SHARED / "data" / "epfl_ca1" / "train_10nm_82x384x512.npz"
HELD_OUT = 16  # slices at the end of z
AREA = (slice(128, 384), slice(256, 512))  # with most of their mitochondria: 56,279 voxels


@pytest.mark.skipif(not EPFL.exists(), reason=f"{EPFL}: not here; FIBSTREAM_SHARED names its place")
def test_the_network_finds_mitochondria_in_slices_it_never_saw() -> None:
    with np.load(EPFL) as arrays:
        raw, truth = arrays["raw"], arrays["mito"]
    z, y, x = raw.shape
    engine = CpuEngine(find_model("mito"), threads=2)
    # The last layer of chunks of this grid is exactly what was kept out.
    grid = Grid((z, y, x), (z - HELD_OUT, 128, 128))
    found = np.zeros((HELD_OUT, y, x), np.uint8)
    for index in product((1,), (1, 2), (2, 3)):  # the chunks of the area
        core, block = grid.box(index), grid.block(index, halo_of(engine.spec))
        (grey,) = predict(Patch(raw[block.slices()], block), core, engine)
        found[core.slices((z - HELD_OUT, 0, 0))] = grey
    kept_out = truth[z - HELD_OUT :]
    score = scores(count(kept_out[:, *AREA], found[:, *AREA] >= 127))
    assert score["dice"] >= 0.89, score  # 0.904 when this was written; 0.925 of all 16 slices
