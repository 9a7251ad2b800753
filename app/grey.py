"""How grey values are shown: which are black and white, and raw as the networks see it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box
from fibstream.services.inference.grey import contrast
from fibstream.volumes.sources import Source

SAMPLE = 128  # voxels an edge, in the middle: where grey values and ids are taken from
PERCENTILES = (0.5, 99.5)  # that become black and white where the metadata has no window


def middle(source: Source) -> NDArray[Any]:
    """Return the voxels in the middle of a volume."""
    low = [max(n // 2 - SAMPLE // 2, 0) for n in source.shape]
    high = [min(a + SAMPLE, n) for a, n in zip(low, source.shape, strict=True)]
    (az, ay, ax), (bz, by, bx) = low, high
    return source.read(Box((az, ay, ax), (bz, by, bx)))


def window(source: Source, sample: NDArray[Any]) -> tuple[float, float]:
    """Return the values of black and white: from the metadata, all of a byte, else percentiles."""
    if source.display.window:
        low, high = source.display.window
        return (high, low) if source.display.inverted else (low, high)
    if source.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.percentile(sample, PERCENTILES).tolist()
    return (low, high) if low < high else (low, low + 1)


def network_grey(values: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """Return raw as the networks see it: contrast stretched, dark membranes."""
    return contrast(values, *dataset.contrast, invert=dataset.invert)
