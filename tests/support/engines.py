"""Engines in plain numpy, for tests that need predictions but no network."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fibstream.services.inference.port import ModelSpec


class TinyEngine:
    """A "network" with a receptive field of 3 voxels: bright is inside, by integer arithmetic.

    The first class is the mean of the 27 voxels around, the second 255 less it, and so on in turn.
    """

    def __init__(self, classes: tuple[str, ...] = ("mito",), output: int = 8) -> None:
        self.spec = ModelSpec(
            name="tiny",
            classes=classes,
            voxel_size_nm=(8, 8, 8),
            halo=(1, 1, 1),
            stride=(1, 1, 1),
            tile=(output + 2,) * 3,
            sha256="0" * 64,
        )
        self.profile: Mapping[str, str] = {"runtime": "numpy", "digest": "tiny"}

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the rounded mean of 3³ voxels, or its complement, for each class."""
        assert tile.shape == self.spec.tile
        total = tile.astype(np.uint32)
        for axis in range(3):
            first, middle, last = (
                np.take(total, range(k, total.shape[axis] - 2 + k), axis) for k in range(3)
            )
            total = first + middle + last
        mean = ((total + 13) // 27).astype(np.uint8)
        return np.stack([255 - mean if k % 2 else mean for k in range(len(self.spec.classes))])


def tiny_engine(*classes: str) -> TinyEngine:
    """Return a tiny engine that predicts ``classes``, ``mito`` when none is named."""
    return TinyEngine(classes or ("mito",))
