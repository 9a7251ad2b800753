"""A small volume that came by wire: what may come, and its prediction. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.stage import Patch

from .grey import MAX_WINDOW, contrast
from .port import Engine, ModelSpec, check_voxel_size
from .tiling import predict

# 64 MB as float32, and 16 MB for each class: on one core minutes of network. What is larger is
# better landed as a dataset, where it survives a broken connection.
MAX_VOXELS = 256**3
DTYPES = ("uint8", "int8", "uint16", "int16", "float32")


@dataclass(frozen=True)
class DatasetRequest:
    """What a volume is: axes (z, y, x), and the grey values that are black and white."""

    shape: Index
    dtype: str
    voxel_size_nm: tuple[float, float, float]
    window: tuple[float, float] | None
    invert: bool

    @property
    def size(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def check(asked: DatasetRequest, spec: ModelSpec) -> tuple[float, float]:
    """Return the contrast window; raise WrongUse or LimitExceeded if it cannot be predicted."""
    if 0 in asked.shape:
        raise WrongUse(f"shape {asked.shape}: expected voxels on each axis")
    if math.prod(asked.shape) > MAX_VOXELS:
        raise LimitExceeded(
            f"shape {asked.shape}: at most {MAX_VOXELS} voxels (256 x 256 x 256) in one call;"
            " land it as a dataset"
        )
    if asked.dtype not in DTYPES:
        raise WrongUse(f"dtype {asked.dtype[:40]!r}: expected one of {', '.join(DTYPES)}")
    if not all(math.isfinite(edge) and edge > 0 for edge in asked.voxel_size_nm):
        raise WrongUse(f"voxel size {asked.voxel_size_nm}: expected three positive numbers of nm")
    check_voxel_size(spec, asked.voxel_size_nm)
    if asked.window is None and asked.dtype != "uint8":
        raise WrongUse(f"dtype {asked.dtype}: give the contrast, two grey values")
    low, high = asked.window or (0.0, 255.0)
    # Written so that what is not a number is refused as well.
    if not -MAX_WINDOW <= low < high <= MAX_WINDOW:
        raise WrongUse(f"contrast {low:g}, {high:g}: expected finite LOW below HIGH")
    return low, high


def predicted(
    data: bytes | bytearray, asked: DatasetRequest, window: tuple[float, float], engine: Engine
) -> NDArray[np.uint8]:
    """Return the prediction of a whole volume, as the pipeline makes it of its chunks.

    Parameters
    ----------
    data
        Voxels in C order, little endian.
    asked
        What they are; `check` has passed it.
    window
        Grey values that are black and white.
    engine
        The network.

    Returns
    -------
    uint8 array ``(classes, z, y, x)``.

    Raises
    ------
    WrongUse
        When a voxel is not finite.
    Poison
        When the network yields a value that is not.
    """
    raw: NDArray[Any] = np.frombuffer(data, np.dtype(asked.dtype).newbyteorder("<"))
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise WrongUse("voxels: some are not finite")
    grey = contrast(raw.reshape(asked.shape), *window, invert=asked.invert)
    whole = Box((0, 0, 0), asked.shape)
    return predict(Patch(grey, whole), whole, engine)


class Interruptible:
    """An engine that looks before every tile whether anybody still wants it."""

    def __init__(self, engine: Engine, look: Callable[[], None]) -> None:
        self.spec = engine.spec
        self.profile = engine.profile
        self._engine = engine
        self._look = look

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the prediction of one tile; ``look`` raises what stops it."""
        self._look()
        return self._engine.infer(tile)
