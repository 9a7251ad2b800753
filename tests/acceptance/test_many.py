"""The released network of fourteen classes on a cell and a look that its training never had."""

import numpy as np

from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.kernels.schema.classes import members
from fibstream.kernels.scores import count, scores
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.spec import LOOKS
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.tiling import predict

SHAPE = (64, 128, 128)
SEED = 905  # training has 1,000 to 12,049


def test_the_network_finds_organelles_in_a_cell_it_never_saw() -> None:
    phantom = Phantom(PhantomSpec(SHAPE, (8.0,) * 3, SEED, look=LOOKS["flyem"]))
    raw, voxels = phantom.image_and_voxels(phantom.box())
    fine = phantom.labels_of(voxels)
    engine = CpuEngine(find_model("many"), threads=2)
    whole = Box((0, 0, 0), SHAPE)
    found = predict(Patch(raw, whole), whole, engine)
    dice = {
        name: scores(count(truth.astype(np.uint8), grey >= 127))["dice"]
        for name, grey in zip(engine.spec.classes, found, strict=True)
        if (truth := members(fine, name)).any()
    }
    assert len(dice) >= 8, dice
    assert sum(dice.values()) / len(dice) > 0.8, dice  # 0.830 when this was written
