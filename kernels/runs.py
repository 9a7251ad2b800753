"""Sparse ids made dense: object ids are 63-bit numbers, but a chunk holds few and in long runs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled

FIRST_IDS = 256  # room for ids before the first growth; a power of two
SLOTS_AN_ID = 4  # at least; keeps the probes of the hash table short
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: Fibonacci hashing
MIX_SHIFT = np.uint64(32)


def run_starts(*flat: NDArray[Any]) -> NDArray[np.int64]:
    """Return where a run starts along one-dimensional arrays of one length, 0 included.

    A run is a longest stretch in which none of the arrays changes.
    """
    changes = np.zeros(max(flat[0].size - 1, 0), bool)
    for array in flat:
        changes |= array[1:] != array[:-1]
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def rank(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Replace sparse ids by their places in a list of the distinct ones.

    Parameters
    ----------
    labels
        Ids of any integer type and shape, fewer than 2**31 voxels.

    Returns
    -------
    ids
        The distinct ids: the background 0 first, even where no voxel is background, then in
        order of first appearance.
    ranks
        Shaped like ``labels``, C order: ``ids[ranks]`` equals ``labels``.
    """
    ranks = np.empty(labels.shape, np.int32)
    return _rank(labels.reshape(-1), ranks.reshape(-1)), ranks


@compiled
def _rank(flat: NDArray[Any], ranks: NDArray[np.int32]) -> NDArray[Any]:
    """Fill ``ranks`` and return the ids; an id is looked up once a run."""
    ids = np.zeros(FIRST_IDS, flat.dtype)
    slots = _slots(ids, 1)
    count, begin = 1, 0
    while begin < flat.size:
        value = flat[begin]
        end = begin + 1
        while end < flat.size and flat[end] == value:
            end += 1
        if count == ids.size:
            ids = np.concatenate((ids, np.zeros_like(ids)))
            slots = _slots(ids, count)
        slot = _slot(slots, ids, value)
        if slots[slot] < 0:
            slots[slot] = count
            ids[count] = value
            count += 1
        ranks[begin:end] = slots[slot]
        begin = end
    return ids[:count].copy()


@compiled
def _slots(ids: NDArray[Any], count: int) -> NDArray[np.int32]:
    """Return a hash table of the places of the first ``count`` ids; an empty slot is -1."""
    slots = np.full(ids.size * SLOTS_AN_ID, -1, np.int32)
    for place in range(count):
        slots[_slot(slots, ids, ids[place])] = place
    return slots


@compiled
def _slot(slots: NDArray[np.int32], ids: NDArray[Any], value: np.integer[Any]) -> int:
    """Return the slot that holds the place of ``value``, or the empty one where it belongs."""
    last = slots.size - 1  # the size is a power of two
    slot = np.int64((np.uint64(value) * MIX) >> MIX_SHIFT) & last
    while slots[slot] >= 0 and ids[slots[slot]] != value:
        slot = (slot + 1) & last
    return int(slot)
