"""Gaussian smoothing in exact integers: the same bits on any machine and for any cut into blocks.

The image has 7 bits below a grey level (Q7), the kernel 15 bits (Q15) and taps that sum to
exactly ``2**15``.  Axes are smoothed in the order z, y, x; after each the value is rounded to Q7,
half up.  An accumulator never exceeds ``2**15 * 255 * 2**7 + 2**14 < 2**31``: 32 bits are enough.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box

from .compiled import compiled
from .conventions import LEVEL_BITS, Triple, reach_of

TAP_BITS = 15
STRIP = 1024  # voxels smoothed together: a strip of every tap's row stays in the cache


def taps(sigma: float) -> NDArray[np.int32]:
    """Return the Q15 kernel from its centre outwards; mirrored it sums to ``2**15``."""
    reach = reach_of(sigma)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) if k else 1.0 for k in range(reach + 1)]
    total = math.fsum(weights + weights[1:])
    fixed = np.array([round(w / total * (1 << TAP_BITS)) for w in weights], np.int32)
    # What rounding left over belongs to the centre, where it is smallest in proportion.
    fixed[0] = (1 << TAP_BITS) - 2 * fixed[1:].sum()
    return fixed


def smooth(image: NDArray[np.uint8], sigma: Triple, box: Box) -> NDArray[np.uint16]:
    """Smooth ``image`` with a Gaussian and return the voxels of ``box``.

    Parameters
    ----------
    image
        Grey levels, ``(z, y, x)``.  It reaches ``radius(sigma)`` beyond ``box`` on every side, or
        ends where the volume ends: there it is mirrored about its last voxel, again and again
        where the volume is thinner than the kernel.
    sigma
        Standard deviations in voxels, ``(z, y, x)``; 0 leaves an axis as it is.
    box
        The wanted voxels, in the image's own coordinates.

    Returns
    -------
    NDArray[np.uint16]
        Smoothed grey levels times ``2**7``, shaped as ``box``; within 0.1 grey levels of the same
        Gaussian in double precision (0.03 measured on smooth images at sigma 3).
    """
    values: NDArray[np.uint16] = image.astype(np.uint16) << np.uint16(LEVEL_BITS)
    z, y, x = (
        _sources(box.start[axis], box.stop[axis], taps(sigma[axis]).size - 1, image.shape[axis])
        for axis in range(3)
    )
    depth, height, width = image.shape
    kz, ky, kx = (taps(s) for s in sigma)
    along_z = _across_rows(values.reshape(1, depth, height * width), kz, z)
    along_y = _across_rows(along_z.reshape(-1, height, width), ky, y)
    return _along_rows(along_y.reshape(-1, width), kx, x).reshape(box.shape)


def _sources(start: int, stop: int, reach: int, length: int) -> NDArray[np.intp]:
    """Return where the values at ``start - reach ... stop + reach`` stand in an axis."""
    period = max(2 * (length - 1), 1)
    wanted = np.abs(np.arange(start - reach, stop + reach)) % period
    return np.minimum(wanted, period - wanted) if length > 1 else np.zeros_like(wanted)


@compiled
def _across_rows(
    image: NDArray[np.uint16], kernel: NDArray[np.int32], sources: NDArray[np.intp]
) -> NDArray[np.uint16]:
    """Smooth the middle axis of three, a strip of the last axis at a time."""
    reach = kernel.size - 1
    out = np.empty((image.shape[0], sources.size - 2 * reach, image.shape[2]), np.uint16)
    total = np.empty(STRIP, np.int32)
    for a in range(image.shape[0]):
        for begin in range(0, image.shape[2], STRIP):
            size = min(STRIP, image.shape[2] - begin)
            for m in range(out.shape[1]):
                middle = image[a, sources[m + reach], begin : begin + size]
                for i in range(size):
                    total[i] = kernel[0] * np.int32(middle[i]) + np.int32(1 << TAP_BITS - 1)
                for k in range(1, reach + 1):
                    tap = kernel[k]
                    before = image[a, sources[m + reach - k], begin : begin + size]
                    after = image[a, sources[m + reach + k], begin : begin + size]
                    for i in range(size):
                        total[i] += tap * (np.int32(before[i]) + np.int32(after[i]))
                target = out[a, m, begin : begin + size]
                for i in range(size):
                    target[i] = total[i] >> TAP_BITS
    return out


@compiled
def _along_rows(
    image: NDArray[np.uint16], kernel: NDArray[np.int32], sources: NDArray[np.intp]
) -> NDArray[np.uint16]:
    """Smooth the last axis of two."""
    reach = kernel.size - 1
    size = sources.size - 2 * reach
    out = np.empty((image.shape[0], size), np.uint16)
    line = np.empty(sources.size, np.int32)
    total = np.empty(size, np.int32)
    for row in range(image.shape[0]):
        for i in range(sources.size):
            line[i] = image[row, sources[i]]
        for i in range(size):
            total[i] = kernel[0] * line[i + reach] + np.int32(1 << TAP_BITS - 1)
        for k in range(1, reach + 1):
            tap = kernel[k]
            before = line[reach - k : reach - k + size]
            after = line[reach + k : reach + k + size]
            for i in range(size):
                total[i] += tap * (before[i] + after[i])
        for i in range(size):
            out[row, i] = total[i] >> TAP_BITS
    return out
