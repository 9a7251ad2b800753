"""Connected components of a block, of its foreground and of its background at once.

A row along x is cut into *runs* of equal value. Runs of neighbouring rows are joined when they
touch; a component is a set of joined runs. The earliest run in raster order stands for its
component, so that its first voxel, its only canonical name, costs nothing (Rosenfeld & Pfaltz,
JACM 1966; by runs: He, Chao & Suzuki, IEEE TIP 2008).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Index

from .compiled import compiled
from .conventions import Connectivity
from .roots import root_of

Ints = NDArray[np.int32]

# Rows before this one in raster order whose voxels may be neighbours: (dz, dy, reach along x).
EARLIER_ROWS = {
    6: np.array([(0, -1, 0), (-1, 0, 0)]),
    18: np.array([(0, -1, 1), (-1, -1, 0), (-1, 0, 1), (-1, 1, 0)]),
    26: np.array([(0, -1, 1), (-1, -1, 1), (-1, 0, 1), (-1, 1, 1)]),
}


class Runs(NamedTuple):
    """A mask of ``shape`` as runs: ``start`` holds flat positions and ends with the size.

    ``row`` is the first run of each row (and their number), ``head`` the value of that run; values
    alternate along a row.
    """

    shape: Index
    start: Ints
    row: Ints
    head: NDArray[np.bool_]


@dataclass(frozen=True)
class Components:
    """The ``n`` components of a block, numbered in the raster order of their first voxels.

    Attributes
    ----------
    runs
        The runs of the block.
    of_run
        Component of each run, int32; -1 for background that was not labelled.
    first
        Flat position of the first voxel, int32 ``(n,)``.
    solid
        Whether it is foreground, bool ``(n,)``.
    voxels
        Number of voxels in the core, uint32 ``(n,)``.
    touch
        Faces of the block in which it has a voxel, uint8 ``(n,)``: bits z low, z high, y low,
        y high, x low, x high from the least.
    """

    runs: Runs
    of_run: Ints
    first: Ints
    solid: NDArray[np.bool_]
    voxels: NDArray[np.uint32]
    touch: NDArray[np.uint8]

    def at(self, positions: NDArray[np.integer]) -> Ints:
        """Return the component at each flat position, int32."""
        return self.of_run[np.searchsorted(self.runs.start, positions, side="right") - 1]


def find_components(
    mask: NDArray[np.bool_], connectivity: Connectivity, *, background: bool, core: Index
) -> Components:
    """Label the foreground of ``mask`` and, if asked, its background with connectivity 6.

    Parameters
    ----------
    mask
        The block, ``(z, y, x)``, at most 2**31 - 1 voxels.
    connectivity
        Of the foreground.
    background
        Whether the background is labelled too.
    core
        Shape ``(z, y, x)`` of the box, from the first voxel of the block, in which voxels are
        counted.
    """
    runs = _runs(mask)
    parent = np.arange(runs.start.size - 1, dtype=np.int32)
    _join(runs, EARLIER_ROWS[connectivity], True, parent)
    if background:
        _join(runs, EARLIER_ROWS[6], False, parent)
    numbered = _number(runs, background, core, parent)
    return Components(runs, parent, *numbered)


def find_neighbours(components: Components, ignored: NDArray[np.bool_]) -> Ints:
    """Return which components of background and foreground share a face of a voxel.

    By edges and corners there are no others, if the foreground was labelled with them: of two such
    neighbours, a voxel that both touch by less is part of one of the two components.

    Parameters
    ----------
    components
        Components of a block with its background.
    ignored
        Components of background that are left out, bool ``(n,)``.

    Returns
    -------
    int32 ``(2, pairs)``
        Background in the first row, foreground in the second; columns are sorted and unique.
    """
    # In the row itself each run touches the next.
    rows = np.vstack([(0, 0, 1), EARLIER_ROWS[6]])
    place = components.runs, rows, components.of_run, ignored
    pairs = np.empty(4 * ignored.size, np.int64)  # seldom too few
    count = _write_pairs(*place, pairs)
    if count > pairs.size:
        pairs = np.empty(count, np.int64)
        _write_pairs(*place, pairs)
    pairs = np.unique(pairs[:count])
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF]).astype(np.int32)


def mark_within(components: Components, box: Box) -> NDArray[np.bool_]:
    """Return whether each component has a voxel in ``box``, in voxels of the block: ``(n,)``."""
    marks = np.zeros(components.first.size, np.bool_)
    _mark(components.runs, components.of_run, box, marks)
    return marks


def paint(components: Components, values: NDArray[np.uint64], core: Index) -> NDArray[np.uint64]:
    """Return the core, uint64 ``(z, y, x)``, in which each voxel has the value of its component.

    ``values`` is uint64 ``(n,)``; background that was not labelled is 0.
    """
    out = np.zeros(core, np.uint64)
    _paint(components.runs, components.of_run, values, out)
    return out


def _runs(mask: NDArray[np.bool_]) -> Runs:
    z, y, x = mask.shape
    rows = np.ascontiguousarray(mask).view(np.uint8).reshape(z * y, x)
    row = _count_runs(rows)
    start = np.empty(row[-1] + 1, np.int32)
    _fill_runs(rows, start)
    return Runs((z, y, x), start, row, rows[:, 0].astype(np.bool_))


@compiled
def _count_runs(rows: NDArray[np.uint8]) -> Ints:
    row = np.zeros(rows.shape[0] + 1, np.int32)
    for r in range(rows.shape[0]):
        changes = np.int32(1)
        for i in range(1, rows.shape[1]):
            changes += np.int32(rows[r, i] ^ rows[r, i - 1])
        row[r + 1] = row[r] + changes
    return row


@compiled
def _fill_runs(rows: NDArray[np.uint8], start: Ints) -> None:
    run, width = 0, rows.shape[1]
    for r in range(rows.shape[0]):
        start[run] = r * width
        run += 1
        for i in range(1, width):
            if rows[r, i] != rows[r, i - 1]:
                start[run] = r * width + i
                run += 1
    start[run] = rows.size


@compiled
def _join(
    runs: Runs,
    earlier: NDArray[np.int64],
    value: bool,
    parent: Ints,
) -> None:
    """Join the runs of ``value`` that touch; the earlier of two roots becomes the root."""
    (depth, height, width), start, row, head = runs
    for r in range(depth * height):
        for s in range(earlier.shape[0]):
            other_z, other_y = r // height + earlier[s, 0], r % height + earlier[s, 1]
            if other_z < 0 or not 0 <= other_y < height:
                continue
            o, reach = other_z * height + other_y, earlier[s, 2]
            shift = (r - o) * width
            # Runs of one value are at every second place.
            i, j = row[r] + (head[r] != value), row[o] + (head[o] != value)
            while i < row[r + 1] and j < row[o + 1]:
                end, other_end = start[i + 1], start[j + 1] + shift
                if start[i] < other_end + reach and start[j] + shift < end + reach:
                    a, b = root_of(parent, i), root_of(parent, j)
                    parent[max(a, b)] = min(a, b)
                if end <= other_end:
                    i += 2
                else:
                    j += 2


@compiled
def _number(
    runs: Runs,
    background: bool,
    core: Index,
    parent: Ints,
) -> tuple[Ints, NDArray[np.bool_], NDArray[np.uint32], NDArray[np.uint8]]:
    """Turn parents into component numbers, in place; return first, solid, voxels and touch."""
    (depth, height, width), start, row, head = runs
    count = 0
    for run in range(parent.size):
        count += parent[run] == run
    first, solid = np.empty(count, np.int32), np.empty(count, np.bool_)
    voxels, touch = np.zeros(count, np.uint32), np.zeros(count, np.uint8)
    count = 0
    for r in range(depth * height):
        z, y = r // height, r % height
        sides = (z == 0) | (z == depth - 1) << 1 | (y == 0) << 2 | (y == height - 1) << 3
        counted = z < core[0] and y < core[1]
        for run in range(row[r], row[r + 1]):
            value = head[r] ^ ((run - row[r]) & 1 == 1)
            if not (value or background):
                parent[run] = -1
                continue
            if parent[run] == run:
                first[count], solid[count] = start[run], value
                parent[run] = count
                count += 1
            else:
                # The parent of an earlier run is a component number by now.
                parent[run] = parent[parent[run]]
            component, begin, end = parent[run], start[run] - r * width, start[run + 1] - r * width
            touch[component] |= sides | (begin == 0) << 4 | (end == width) << 5
            if counted:
                voxels[component] += max(min(end, core[2]) - begin, 0)
    return first[:count], solid[:count], voxels[:count], touch[:count]


@compiled
def _write_pairs(
    runs: Runs,
    others: NDArray[np.int64],
    component: Ints,
    ignored: NDArray[np.bool_],
    pairs: NDArray[np.int64],
) -> int:
    """Write pairs (background above bit 32) while there is room, and return how many there are."""
    (depth, height, width), start, row, head = runs
    # Comparing with the latest partner of each component leaves out most repetitions.
    last = np.full(ignored.size, -1, np.int32)
    count = 0
    for r in range(depth * height):
        for s in range(others.shape[0]):
            other_z, other_y = r // height + others[s, 0], r % height + others[s, 1]
            if other_z < 0 or not 0 <= other_y < height:
                continue
            o, reach = other_z * height + other_y, others[s, 2]
            shift = (r - o) * width
            for value in range(2):
                i, j = row[r] + (head[r] != value), row[o] + (head[o] == value)
                while i < row[r + 1] and j < row[o + 1]:
                    end, other_end = start[i + 1], start[j + 1] + shift
                    if start[i] < other_end + reach and start[j] + shift < end + reach:
                        back, fore = (j, i) if value else (i, j)
                        a, b = component[back], component[fore]
                        if not ignored[a] and last[a] != b and last[b] != a:
                            last[a], last[b] = b, a
                            if count < pairs.size:
                                pairs[count] = np.int64(a) << 32 | b
                            count += 1
                    if end <= other_end:
                        i += 2
                    else:
                        j += 2
    return count


@compiled
def _mark(runs: Runs, component: Ints, box: Box, marks: NDArray[np.bool_]) -> None:
    shape, start, row, _ = runs
    low, high = box
    for z in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            r = z * shape[1] + y
            base = r * shape[2]
            for run in range(row[r], row[r + 1]):
                meets = start[run] < base + high[2] and start[run + 1] > base + low[2]
                if meets and component[run] >= 0:
                    marks[component[run]] = True


@compiled
def _paint(
    runs: Runs, component: Ints, values: NDArray[np.uint64], out: NDArray[np.uint64]
) -> None:
    shape, start, row, _ = runs
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            r = z * shape[1] + y
            base = r * shape[2]
            for run in range(row[r], row[r + 1]):
                if component[run] >= 0 and values[component[run]] != 0:
                    end = min(start[run + 1] - base, out.shape[2])
                    out[z, y, start[run] - base : end] = values[component[run]]
