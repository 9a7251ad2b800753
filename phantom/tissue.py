"""Processes of other cells that fill the space outside of the cell in a tissue.

They are the cells of a Voronoi diagram of jittered lattice points in slowly warped space, shrunk
by half the cleft between cells.  They follow from a formula and are not placed, so a volume of any
size has them.  They hold cytosol and no organelles.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import inlined, lean

from .hashing import bits, noise, unit

PITCH = 430.0  # nm: neurites are 0.2-1 um wide (Mishchenko et al., Neuron 67 (2010))
STRETCH = 2.6  # they are elongated along one direction
CLEFT = 16.0  # nm: 10-20 nm in fixed tissue (Alberts, chapter 21)
CLEFT_TONE = 0.5  # the cleft is stained too, unlike empty resin
WARP, WARP_NM = 150.0, 520.0  # how far, and over which length, space is bent
JITTER = 0.85  # of a pitch

Keys = NDArray[np.uint64]


@lean
def process(key: np.uint64, z: float, y: float, x: float) -> tuple[float, np.uint64]:
    """Return the depth (nm) of a place below the surface of its process, and the process's hash.

    Negative in the cleft between processes.
    """
    a = z + WARP * noise(key, z / WARP_NM, y / WARP_NM, x / WARP_NM)
    b = y + WARP * noise(key, z / WARP_NM + 31.0, y / WARP_NM, x / WARP_NM)
    a, b, c = a / PITCH, (0.8 * b + 0.6 * x) / PITCH, (0.8 * x - 0.6 * b) / (PITCH * STRETCH)
    iz, iy, ix = math.floor(a), math.floor(b), math.floor(c)
    first, second = 1e9, 1e9
    z1 = y1 = x1 = z2 = y2 = x2 = 0.0
    word = np.uint64(0)
    for n in range(27):
        jz, jy, jx = iz + n // 9 - 1, iy + n // 3 % 3 - 1, ix + n % 3 - 1
        h = bits(key, jz, jy, jx)
        pz = jz + 0.5 + JITTER * (float(h & np.uint64(0xFFFF)) / 65536.0 - 0.5)
        py = jy + 0.5 + JITTER * (float((h >> np.uint64(16)) & np.uint64(0xFFFF)) / 65536.0 - 0.5)
        px = jx + 0.5 + JITTER * (float((h >> np.uint64(32)) & np.uint64(0xFFFF)) / 65536.0 - 0.5)
        far = (pz - a) ** 2 + (py - b) ** 2 + (px - c) ** 2
        if far < first:
            second, z2, y2, x2 = first, z1, y1, x1
            first, z1, y1, x1, word = far, pz, py, px, h
        elif far < second:
            second, z2, y2, x2 = far, pz, py, px
    apart = math.sqrt((z1 - z2) ** 2 + (y1 - y2) ** 2 + (x1 - x2) ** 2)
    # The lattice is stretched along c: a step across a wall that faces c is longer by as much.
    facing = abs(x1 - x2) / apart
    border = 0.5 * (second - first) / apart * PITCH
    return border * (1.0 + (STRETCH - 1.0) * facing) - 0.5 * CLEFT, word


@inlined
def tone_of(word: np.uint64, bright: float) -> float:
    """Return the tone of a process: some hold dense cytosol, some hardly any."""
    return bright * (0.72 + 0.38 * unit(word))
