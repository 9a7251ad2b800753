"""The check that an engine passes before it predicts a dataset."""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Poison, WrongUse

from .port import ModelSpec
from .tiling import finer_shape

SEED = 20211006  # any constant; another one would change every recorded digest


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
    return hashlib.sha256(np.ascontiguousarray(here).tobytes()).hexdigest()
