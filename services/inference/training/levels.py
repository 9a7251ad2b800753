"""The grey levels of training data that a network's card keeps."""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Grid
from fibstream.core.stage import Patch
from fibstream.services.inference.polarity import EdgeSums
from fibstream.services.inference.port import Engine, GreyLevels
from fibstream.services.inference.tiling import halo_of, predict


def training_levels(raw: NDArray[np.uint8], engine: Engine) -> GreyLevels | None:
    """Return the grey levels of training data, (z, y, x), and of the edges predicted in them.

    None where the network finds hardly an object.
    """
    z, y, x = raw.shape
    oz, oy, ox = engine.spec.output
    grid = Grid((z, y, x), (min(z, oz), min(y, oy), min(x, ox)))
    sums = EdgeSums(engine.spec.classes)
    for index in grid.indices():
        block, core = grid.block(index, halo_of(engine.spec)), grid.box(index)
        found = predict(Patch(raw[block.slices()], block), core, engine)
        sums.add(raw[core.slices()], found)
    return sums.levels()
