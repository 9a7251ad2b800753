"""The area of an object's surface, by voxel faces and by Crofton's formula, and its sphericity.

Faces over-estimate a smooth area, that of a sphere by a half.  The Cauchy-Crofton formula does
not: the area is twice the mean, over directions, of the area in which lines of a direction cross
the surface (Lehmann and Legland, Insight Journal 2012).
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

from fibstream.services.analysis.cubes import DIRECTIONS

from .objects import Column, Measure, Objects, Values

# A weight is rounded to so many decimals: its last bits could differ between machines.
WEIGHT_DECIMALS = 12
ROOT_BITS = 53  # of a sphericity
NEWTON_STEPS = 2  # they end within 1 of the root: the second only tidies up


def _compute(objects: Objects) -> Sequence[Values]:
    faces = objects.total["crossings"][:, :3].tolist()
    one, unit = objects.face_edges, objects.unit**2
    by_axis = [[f[a] * one[a] / unit for f in faces] for a in range(3)]
    total = [sum(n * area for n, area in zip(f, one, strict=True)) / unit for f in faces]
    borders = objects.total["border_faces"].tolist()
    border = [sum(n * area for n, area in zip(b, one, strict=True)) / unit for b in borders]
    z, y, x = (edge / objects.unit for edge in objects.edges)
    crofton = crofton_areas(objects.total["crossings"].tolist(), (z, y, x))
    volume = math.prod(objects.edges) / objects.unit**3
    round_ = [sphericity(n * volume, a) for n, a in zip(objects.voxels, crofton, strict=True)]
    return total, *by_axis, border, crofton, round_


def crofton_areas(
    crossings: Sequence[Sequence[int]], voxel_size_nm: tuple[float, float, float]
) -> list[float]:
    """Return areas in nm2 from the crossings in each of `cubes.DIRECTIONS`.

    Its mean over all orientations of a surface is exact. That of a plane depends on its
    orientation; docs/formats.md has figures.
    """
    exact = [Fraction(area) for area in _crossing_areas(voxel_size_nm)]
    unit = math.lcm(*(area.denominator for area in exact))
    areas = [int(area * unit) for area in exact]
    return [sum(n * a for n, a in zip(c, areas, strict=True)) / unit for c in crossings]


@lru_cache
def _crossing_areas(voxel_size_nm: tuple[float, float, float]) -> list[float]:
    """Return the area that a crossing stands for in each direction, in nm2.

    Lines along a direction lie ``voxel volume / step`` apart in area; each direction has the weight
    of the part of the sphere that is nearest to it, the voxel's edges taken into account.
    """
    from scipy.spatial import SphericalVoronoi

    steps = np.array(DIRECTIONS) * voxel_size_nm
    lengths = np.sqrt((steps**2).sum(axis=1))
    units = steps / lengths[:, None]
    cells = SphericalVoronoi(np.concatenate([units, -units])).calculate_areas()
    weights = np.round((cells[: len(units)] + cells[len(units) :]) / (4 * math.pi), WEIGHT_DECIMALS)
    areas: list[float] = (2 * weights * math.prod(voxel_size_nm) / lengths).tolist()
    return areas


def sphericity(volume: float, area: float) -> float:
    """Return the area of the ball of a volume over an area (Wadell 1935), 0 without an area.

    The cube root is that of whole numbers, since those of C libraries differ in their last bit.
    """
    if not area:
        return 0.0
    cube: Fraction = 36 * Fraction(math.pi) * Fraction(volume) ** 2 / Fraction(area) ** 3
    return cube_root(math.floor(cube * (1 << 3 * ROOT_BITS))) / (1 << ROOT_BITS)


def cube_root(n: int) -> int:
    """Return the largest integer of which the cube is not above ``n``."""
    root: int = round(float(n) ** (1 / 3))  # right to 15 digits
    for _ in range(NEWTON_STEPS if root else 0):
        root += (n // root**2 - root) // 3
    while root**3 > n:
        root -= 1
    while (root + 1) ** 3 <= n:
        root += 1
    return root


_FACES = "area of the voxel faces across {0} towards anything else, in nm2"
AREA = Measure(
    {
        "area_nm2": Column("double", "voxel faces towards anything else, times their area, in nm2"),
        **{f"face_area_{axis}_nm2": Column("double", _FACES.format(axis)) for axis in "zyx"},
        "border_area_nm2": Column(
            "double", "area of its voxel faces on the border of the volume, in no other, in nm2"
        ),
        "crofton_area_nm2": Column(
            "double", "area by Crofton's formula in 13 directions, unbiased, in nm2"
        ),
        "sphericity": Column(
            "double", "area of the ball of its volume over its Crofton area; 0 without an area"
        ),
    },
    _compute,
)
