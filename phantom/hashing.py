"""Random numbers that depend on a key and a place alone, never on what was drawn before.

The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, variant 13 of Stafford); a
place enters through odd constants, so that neighbouring places have unrelated numbers.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.compiled import inlined, lean

GAMMA = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_Z, _Y, _X = (
    np.uint64(0xD6E8FEB86659FD93),
    np.uint64(0xA0761D6478BD642F),
    np.uint64(0xE7037ED1A0B428DB),
)
_R30, _R27, _R31, _R11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_WORD = 2**64 - 1
NORMAL_DEVIATION = 37837  # standard deviation of noise_normal


@inlined
def scramble(word: np.uint64) -> np.uint64:
    """Return 64 bits that look unrelated to ``word``; a bijection."""
    word = (word ^ (word >> _R30)) * _M1
    word = (word ^ (word >> _R27)) * _M2
    return np.uint64(word ^ (word >> _R31))


@inlined
def bits(key: np.uint64, z: int, y: int, x: int) -> np.uint64:
    """Return the 64 bits that ``key`` has at an integer place; places may be negative."""
    place = np.uint64(z) * _Z + np.uint64(y) * _Y + np.uint64(x) * _X
    return scramble(key + place)


@inlined
def unit(word: np.uint64) -> float:
    """Return a number of [0, 1) from the upper 53 bits."""
    return float(word >> _R11) * 1.1102230246251565e-16


@inlined
def noise_normal(word: np.uint64) -> int:
    """Return an integer of nearly normal distribution: the sum of four 16-bit numbers, centred.

    Its standard deviation is NORMAL_DEVIATION.
    """
    mask = np.uint64(0xFFFF)
    total = int(word & mask) + int((word >> np.uint64(16)) & mask)
    return total + int((word >> np.uint64(32)) & mask) + int(word >> np.uint64(48)) - 131070


@inlined
def _smoothstep(t: float) -> float:
    return t * t * (3.0 - 2.0 * t)


@lean
def noise(key: np.uint64, z: float, y: float, x: float) -> float:
    """Return smooth noise of [-1, 1] with one independent value per unit cell (value noise)."""
    iz, iy, ix = math.floor(z), math.floor(y), math.floor(x)
    tz, ty, tx = _smoothstep(z - iz), _smoothstep(y - iy), _smoothstep(x - ix)
    total = 0.0
    for corner in range(8):
        a, b, c = corner >> 2, (corner >> 1) & 1, corner & 1
        wz = tz if a else 1.0 - tz
        wy = ty if b else 1.0 - ty
        wx = tx if c else 1.0 - tx
        total += wz * wy * wx * unit(bits(key, iz + a, iy + b, ix + c))
    return 2.0 * total - 1.0


def key_of(seed: int, *path: int) -> int:
    """Return the 64-bit key of a named part of a seed; different paths, unrelated keys."""
    word = seed & _WORD
    for step in path:
        word = (word + (step + 1) * int(GAMMA)) & _WORD
        word = ((word ^ (word >> 30)) * int(_M1)) & _WORD
        word = ((word ^ (word >> 27)) * int(_M2)) & _WORD
        word ^= word >> 31
    return word


class Draw:
    """A random stream for placement that no version of a library changes."""

    def __init__(self, seed: int, *path: int) -> None:
        self._key = key_of(seed, *path)
        self._count = 0

    def bits(self) -> int:
        """Return the next 64 bits."""
        self._count += 1
        return key_of(self._key, self._count)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return the next number of [low, high)."""
        return low + (high - low) * (self.bits() >> 11) * 2.0**-53

    def normal(self) -> float:
        """Return the next number of a normal distribution (Box and Muller)."""
        far = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        return far * math.cos(2.0 * math.pi * self.uniform())

    def integer(self, low: int, high: int) -> int:
        """Return the next integer of [low, high)."""
        return low + self.bits() % (high - low)

    def vector(self) -> NDArray[np.float64]:
        """Return the next unit vector, uniform on the sphere (Archimedes), ``(z, y, x)``."""
        z, turn = self.uniform(-1.0, 1.0), self.uniform(0.0, 2.0 * math.pi)
        flat = math.sqrt(max(0.0, 1.0 - z * z))
        return np.array([z, flat * math.cos(turn), flat * math.sin(turn)])

    def point(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the next point of the box [low, high), ``(z, y, x)``."""
        return np.array([self.uniform(a, b) for a, b in zip(low, high, strict=True)])
