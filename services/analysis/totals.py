"""Rows of many chunks added up to one row for each id: a commutative monoid, in any order.

Chunks and totals have the same columns, those of `measure.measure`: one entry for each object in
most, one for each intensity of each object in those of `LEVELS`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.core.stage import Arrays

from .limbs import PRODUCTS, carried

_REDUCE = {
    "voxels": np.add,
    "wide": np.add,
    "crossings": np.add,
    "border_faces": np.add,
    "euler": np.add,
    "low": np.minimum,
    "high": np.maximum,
}
_SHAPES = {
    "wide": (PRODUCTS.stop, 2), "crossings": (13,), "border_faces": (3,), "euler": (2,),
    "low": (3,), "high": (3,),
}  # fmt: skip
LEVELS = ("level", "level_voxels")


class RowTotals:
    """The rows of `measure`, kept by chunk, and their total.

    The chunk is the key: putting the same rows twice changes nothing, putting others replaces
    them.  New chunks are merged into the known total; only a replaced or removed one, for which
    minima have no inverse, makes the next total start again from all rows.
    """

    def __init__(self) -> None:
        self._rows: dict[Index, Arrays] = {}
        self._unmerged: set[Index] = set()  # chunks that are not yet in the total
        self._total = merge([])

    def put(self, chunk: Index, rows: Arrays) -> None:
        """Take the rows of a chunk, instead of earlier ones of the same chunk."""
        known = self._rows.get(chunk)
        if known is not None:
            if all(np.array_equal(known[name], rows[name]) for name in known):
                return
            self.remove(chunk)
        self._rows[chunk] = rows
        self._unmerged.add(chunk)

    def remove(self, chunk: Index) -> None:
        """Forget a chunk; one that was never put is a ``KeyError``."""
        del self._rows[chunk]
        if chunk in self._unmerged:
            self._unmerged.remove(chunk)
        else:
            self._total = merge([])
            self._unmerged = set(self._rows)

    def rows(self, chunk: Index) -> Arrays:
        """Return the rows of one chunk; one that was never put is a ``KeyError``."""
        return self._rows[chunk]

    def total(self) -> Arrays:
        """Return one row for each id, as `merge` does."""
        if self._unmerged:
            unmerged = (self._rows[chunk] for chunk in self._unmerged)
            self._total = merge([self._total, *unmerged])
            self._unmerged = set()
        return self._total


def merge(parts: Sequence[Arrays]) -> Arrays:
    """Add up rows; associative, commutative, and ``merge([])`` is neutral.

    Returns
    -------
    Arrays
        Rows, one for each id, in ascending order of ``id``.
    """
    parts = [part for part in parts if part["id"].size]
    if not parts:
        return _no_rows()
    ids = np.concatenate([part["id"] for part in parts])
    order = np.argsort(ids, kind="stable")
    distinct, starts = np.unique(ids[order], return_index=True)
    total: Arrays = {"id": distinct}
    for name, reduce in _REDUCE.items():
        values = np.concatenate([part[name] for part in parts])[order]
        total[name] = reduce.reduceat(values, starts, axis=0)
    total["wide"] = carried(total["wide"])
    return total | _merged_levels(parts, np.searchsorted(distinct, ids))


def _merged_levels(parts: Sequence[Arrays], rows: NDArray[np.intp]) -> Arrays:
    """Add up the voxels of each intensity of each object; ``rows`` is where each part's rows go."""
    count = int(rows.max()) + 1
    of = np.repeat(rows, np.concatenate([part["levels"] for part in parts]))
    if not of.size:
        return {"levels": np.zeros(count, np.int64)} | _no_levels()
    level = np.concatenate([part["level"] for part in parts if part["level"].size])
    voxels = np.concatenate([part["level_voxels"] for part in parts if part["level"].size])
    order = np.lexsort((level, of))
    of, level = of[order], level[order]
    new = np.ones(of.size, bool)
    new[1:] = (of[1:] != of[:-1]) | (level[1:] != level[:-1])
    starts = np.flatnonzero(new)
    return {
        "levels": np.bincount(of[starts], minlength=count),
        "level": level[starts],
        "level_voxels": np.add.reduceat(voxels[order], starts, dtype=np.int64),
    }


def select(total: Arrays, rows: NDArray[np.bool_]) -> Arrays:
    """Return some of the rows, in the same order."""
    levels = np.repeat(rows, total["levels"])
    return {name: values[levels if name in LEVELS else rows] for name, values in total.items()}


def _no_rows() -> Arrays:
    rows: Arrays = {
        name: np.zeros((0, *_SHAPES.get(name, ())), np.int64) for name in (*_REDUCE, "levels")
    }
    return rows | {"id": np.zeros(0, np.uint64)} | _no_levels()


def _no_levels() -> Arrays:
    return {"level": np.zeros(0, np.uint8), "level_voxels": np.zeros(0, np.int64)}
