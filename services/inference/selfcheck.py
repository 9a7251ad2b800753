"""The check that an engine passes before it predicts a dataset."""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Poison, WrongUse
from fibstream.core.grid import Index

from .port import ModelSpec
from .tiling import finer_shape

SEED = 20211006  # any constant; another one would change every recorded digest
LATTICE = 32  # voxels between the random values that a smooth block lies between
FINE = 24  # grey levels of noise on top of it, at most


def self_check(infer: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], spec: ModelSpec) -> str:
    """Run a network on fixed noise twice, the second time one stride further.

    Where both outputs overlap they must agree to the last bit: each voxel was then computed at
    two neighbouring places of the tile, so by induction no place in a tile differs from another.
    That fails for a wrong halo, stride or phase, for a network that normalises over the tile, and
    for a runtime whose arithmetic depends on the place.

    Parameters
    ----------
    infer
        ``Engine.infer``.
    spec
        The network.

    Returns
    -------
    str
        SHA-256 of the first output, in hexadecimal.

    Raises
    ------
    WrongUse
        The network yields another shape than its metadata says, values that are not finite,
        or outputs that depend on the place.
    """
    moved = tuple(t + s for t, s in zip(spec.tile, spec.stride, strict=True))
    noise = np.random.default_rng(SEED).integers(0, 256, moved, np.uint8)
    z, y, x = spec.stride
    fz, fy, fx = finer_shape(spec.stride, spec)
    depth, height, width = spec.tile
    try:
        here = infer(np.ascontiguousarray(noise[:depth, :height, :width]))
        there = infer(np.ascontiguousarray(noise[z:, y:, x:]))
    except Poison as error:
        raise WrongUse(str(error)) from None
    wanted = (len(spec.classes), *spec.predicted)
    if here.shape != wanted:
        raise WrongUse(
            f"model {spec.name}: output of a tile is {here.shape}, its metadata says {wanted}"
        )
    if not np.array_equal(here[:, fz:, fy:, fx:], there[:, :-fz, :-fy, :-fx]):
        raise WrongUse(
            f"model {spec.name}: output changes when the tile moves by its stride; "
            "expected valid convolutions, and halo and stride as its metadata says"
        )
    return output_digest(here)


def smooth_block(shape: Index) -> NDArray[np.uint8]:
    """Return a fixed block with lumps and fine noise, uint8 (z, y, x).

    Networks find surfaces in it. In noise they may find nothing: the released one yields two grey
    levels there, which two kinds of arithmetic share more often than not.
    """
    rng = np.random.default_rng(SEED)
    block = rng.random([n // LATTICE + 2 for n in shape])
    for axis, edge in enumerate(shape):
        whole, part = np.divmod(np.arange(edge) / LATTICE, 1)
        at = whole.astype(np.intp)
        weight = part.reshape([-1 if a == axis else 1 for a in range(3)])
        block = np.take(block, at, axis) * (1 - weight) + np.take(block, at + 1, axis) * weight
    grey = (block - 0.5) * 400 + 128 + rng.integers(-FINE, FINE + 1, shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def output_digest(found: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of an output, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()
