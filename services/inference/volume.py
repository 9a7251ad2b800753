"""A small volume that a client sends: checks of its description, and its prediction."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.stage import Patch

from .grey import check_window, contrast
from .port import Engine, ModelSpec, check_voxel_size
from .tiling import predict

# 64 MB as float32, and 16 MB for each class: minutes of one core. A larger volume is better landed
# as a dataset, which outlives a broken connection.
MAX_VOXELS = 256**3
DTYPES = ("uint8", "int8", "uint16", "int16", "float32")


@dataclass(frozen=True)
class VolumeSpec:
    """What a volume is.

    Attributes
    ----------
    shape, voxel_size_nm
        Voxels and edges of a voxel in nm, ``(z, y, x)``.
    dtype
        Name of the type of its voxels.
    window
        Grey values that are black and white; None for the whole range of uint8.
    invert
        Whether dark and bright change places.
    """

    shape: Index
    dtype: str
    voxel_size_nm: tuple[float, float, float]
    window: tuple[float, float] | None
    invert: bool

    @property
    def size(self) -> int:
        """Size of all voxels in bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def check(volume: VolumeSpec, model: ModelSpec) -> tuple[float, float]:
    """Return the contrast window; raise WrongUse or LimitExceeded if it cannot be predicted."""
    if 0 in volume.shape:
        raise WrongUse(f"shape {volume.shape}: expected voxels on each axis")
    if math.prod(volume.shape) > MAX_VOXELS:
        raise LimitExceeded(
            f"shape {volume.shape}: at most {MAX_VOXELS} voxels (256 x 256 x 256) in one call;"
            " land it as a dataset"
        )
    if volume.dtype not in DTYPES:
        raise WrongUse(f"dtype {echo(volume.dtype)}: expected one of {', '.join(DTYPES)}")
    if not all(math.isfinite(edge) and edge > 0 for edge in volume.voxel_size_nm):
        raise WrongUse(f"voxel size {volume.voxel_size_nm}: expected three positive numbers of nm")
    check_voxel_size(model, volume.voxel_size_nm)
    if volume.window is None and volume.dtype != "uint8":
        raise WrongUse(f"dtype {volume.dtype}: give the contrast, two grey values")
    low, high = volume.window or (0.0, 255.0)
    return check_window(low, high, f"contrast {low:g}, {high:g}")


def predict_volume(
    data: bytes | bytearray, volume: VolumeSpec, window: tuple[float, float], engine: Engine
) -> NDArray[np.uint8]:
    """Return the prediction of a whole volume; a pipeline makes the same of its chunks.

    Parameters
    ----------
    data
        Voxels in C order, little endian.
    volume
        What they are; `check` has passed it.
    window
        Grey values that are black and white.
    engine
        The network.

    Returns
    -------
    NDArray[np.uint8]
        ``(classes, z, y, x)``.

    Raises
    ------
    WrongUse
        A voxel is not finite.
    Poison
        The network yields a value that is not finite.
    """
    raw: NDArray[Any] = np.frombuffer(data, np.dtype(volume.dtype).newbyteorder("<"))
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise WrongUse("voxels: some are not finite")
    grey = contrast(raw.reshape(volume.shape), *window, invert=volume.invert)
    whole = Box((0, 0, 0), volume.shape)
    return predict(Patch(grey, whole), whole, engine)


class Interruptible:
    """An engine that calls ``check`` before every tile; it raises what ends the prediction."""

    def __init__(self, engine: Engine, check: Callable[[], None]) -> None:
        self.spec = engine.spec
        self.profile = engine.profile
        self._engine = engine
        self._check = check

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the prediction of one tile; see ``Engine``."""
        self._check()
        return self._engine.infer(tile)
