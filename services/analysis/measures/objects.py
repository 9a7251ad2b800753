"""What a measure is made of: exact integers of each object, and the voxel in whole numbers.

Every float is an exact rational rounded once, or what IEEE additions, multiplications, divisions
and square roots make of such: the same on every machine.  A voxel size is the decimal that the user
wrote, not its binary neighbour: the three sizes are whole numbers of one unit, ``1 / unit`` nm, so
a cell is one division of two integers, which Python rounds correctly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.stage import Arrays
from fibstream.services.analysis.limbs import INDICES, PRODUCTS, integers
from fibstream.services.analysis.totals import select

VoxelSize = Sequence[float]
Values = Sequence[Any] | NDArray[Any]  # of one column, an entry for each object


@dataclass(frozen=True)
class Column:
    """A column of a table: its Arrow type and what it means."""

    type: str
    meaning: str


@dataclass(frozen=True)
class Measure:
    """Some columns of a table and how they follow from totals."""

    columns: Mapping[str, Column]
    compute: Callable[["Objects"], Sequence[Values]]  # in the order of ``columns``
    raw: bool = False  # whether it needs intensities


class Objects:
    """Totals of the objects of which voxels are known.

    Parameters
    ----------
    total
        Rows as `totals.merge` returns them.
    voxel_size_nm
        Decimal edge lengths of a voxel, ``(z, y, x)``, in nm.
    """

    def __init__(self, total: Arrays, voxel_size_nm: VoxelSize) -> None:
        self.edges, self.unit = whole_edges(voxel_size_nm)
        self.total = select(total, total["voxels"] > 0)
        self.voxels: list[int] = self.total["voxels"].tolist()

    @cached_property
    def sums(self) -> list[list[int]]:
        """Sums of the voxels' indices along z, y and x, an exact integer for each object."""
        return integers(np.moveaxis(self.total["wide"][:, INDICES], 1, 0))

    @cached_property
    def products(self) -> list[list[int]]:
        """Sums of the products zz, yy, xx, zy, zx and yx of indices."""
        return integers(np.moveaxis(self.total["wide"][:, PRODUCTS], 1, 0))

    @property
    def face_edges(self) -> list[int]:
        """Area of a voxel's face across z, y and x, in ``1 / unit**2`` nm2."""
        z, y, x = self.edges
        return [y * x, z * x, z * y]


def whole_edges(voxel_size_nm: VoxelSize) -> tuple[list[int], int]:
    """Return the voxel's edges as whole multiples of ``1 / unit`` nm, and the unit.

    Raises
    ------
    WrongUse
        The voxel size is not three positive finite numbers.
    """
    sizes = [float(size) for size in voxel_size_nm]
    if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise WrongUse(f"voxel size {voxel_size_nm}: expected three positive numbers Z,Y,X in nm")
    decimals = [Fraction(str(size)) for size in sizes]
    unit = math.lcm(*(decimal.denominator for decimal in decimals))
    return [int(decimal * unit) for decimal in decimals], unit
