"""What kernels and their callers agree on; importing it brings no compiler."""

from typing import Literal

from fibstream.core.grid import Index

Connectivity = Literal[6, 18, 26]  # neighbours by faces; also by edges; also by corners
Triple = tuple[float, float, float]  # a standard deviation per axis, (z, y, x)
LEVEL_BITS = 7  # smoothed images are in fixed point: a grey level is 2**7 units
TRUNCATE = 4  # standard deviations: a Gaussian's kernel ends there


def reach_of(sigma: float) -> int:
    """Return the reach of a Gaussian's kernel in voxels, for ``sigma`` in voxels."""
    return int(TRUNCATE * sigma + 0.5)


def radius(sigma: Triple) -> Index:
    """Return the reach of the kernel in voxels per axis, for ``sigma`` in voxels."""
    z, y, x = map(reach_of, sigma)
    return z, y, x
