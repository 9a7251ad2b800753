"""Rows of many chunks added up to one row for each id: a commutative monoid, in any order.

An object may span a million chunks of 2**27 voxels: its voxels and faces fit 64 bits, the sums of
indices (2**68) and intensities (2**79) do not.  A wide sum is therefore two limbs,
``high * 2**32 + low`` with ``0 <= low < 2**32``, which no order of additions can change.
"""

from collections.abc import Sequence

import numpy as np

from fibstream.core.grid import Index
from fibstream.core.stage import Arrays

LIMB_BITS = 32
LIMB_MASK = (1 << LIMB_BITS) - 1

_REDUCE = {
    "voxels": np.add,
    "wide": np.add,
    "faces": np.add,
    "low": np.minimum,
    "high": np.maximum,
    "touches_border": np.logical_or,
}


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
            unmerged = (widen(self._rows[chunk]) for chunk in self._unmerged)
            self._total = merge([self._total, *unmerged])
            self._unmerged = set()
        return self._total


def widen(rows: Arrays) -> Arrays:
    """Return rows of `measure` with ``sum`` and ``raw`` as one array of limbs.

    Returns
    -------
    Arrays
        The same rows; ``wide``, int64 ``(n, 4, 2)``, holds the sums of z, y, x and of the
        intensity, each as high and low limb.
    """
    sums = np.concatenate([rows["sum"], rows["raw"][:, None]], axis=1)
    limbs = np.stack([sums >> LIMB_BITS, sums & LIMB_MASK], axis=-1)
    return {"id": rows["id"], "wide": limbs} | {
        name: rows[name] for name in _REDUCE if name != "wide"
    }


def merge(parts: Sequence[Arrays]) -> Arrays:
    """Add up widened rows; associative, commutative, and ``merge([])`` is neutral.

    Returns
    -------
    Arrays
        Widened rows, one for each id, in ascending order of ``id``.
    """
    parts = [part for part in parts if part["id"].size]
    if not parts:
        return widen(_no_rows())
    ids = np.concatenate([part["id"] for part in parts])
    order = np.argsort(ids, kind="stable")
    distinct, starts = np.unique(ids[order], return_index=True)
    total: Arrays = {"id": distinct}
    for name, reduce in _REDUCE.items():
        values = np.concatenate([part[name] for part in parts])[order]
        total[name] = reduce.reduceat(values, starts, axis=0)
    carry = total["wide"][..., 1] >> LIMB_BITS
    total["wide"][..., 0] += carry
    total["wide"][..., 1] &= LIMB_MASK
    return total


def _no_rows() -> Arrays:
    rows: Arrays = {name: np.zeros((0, 3), np.int64) for name in ("sum", "low", "high", "faces")}
    rows |= {name: np.zeros(0, np.int64) for name in ("voxels", "raw")}
    return rows | {"id": np.zeros(0, np.uint64), "touches_border": np.zeros(0, bool)}
