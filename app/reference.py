"""The whole volume as one block, by other code: what `demo` compares a streamed run with.

It shares with the services what defines a voxel's prediction and its smoothing (the network, the
tiles, the fixed-point kernel) and nothing of what is streamed: no planner, worker, frontier or
store, no fragments, no fold. Components, holes and sizes are scipy's on the whole array; measures
are plain numpy, object by object.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box
from fibstream.core.ids import gids
from fibstream.core.stage import Arrays, Patch
from fibstream.kernels.smooth import smooth
from fibstream.services.analysis.table import finish
from fibstream.services.inference.grey import contrast
from fibstream.services.inference.port import Engine
from fibstream.services.inference.seen import MIDDLE
from fibstream.services.inference.tiling import predict
from fibstream.services.refine.rule import ObjectRule

Mask = NDArray[np.bool_]

STRUCTURE = {6: 1, 18: 2, 26: 3}
SQUARE = 8  # voxels an edge of what was never imaged, at least
LIMB = 2**32
# Faces across z, y and x, then the diagonals of squares and of cubes.
DIRECTIONS = (
    (1, 0, 0), (0, 1, 0), (0, 0, 1),
    (0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0),
    (1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1),
)  # fmt: skip


def prediction_of(
    raw: NDArray[Any], dataset: Dataset, engine: Engine, mask: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the prediction (classes, z, y, x) of a whole volume; ``mask`` is 1 where imaged."""
    low, high = dataset.contrast
    volume = Box((0, 0, 0), dataset.grid.extent)
    grey, absent = contrast(raw, low, high, invert=dataset.invert), absent_of(raw, dataset, mask)
    grey[absent] = MIDDLE
    found = predict(Patch(grey, volume), volume, engine)
    found[:, absent] = 0
    return found


def absent_of(raw: NDArray[Any], dataset: Dataset, mask: NDArray[np.uint8] | None = None) -> Mask:
    """Return which voxels of a whole volume were never imaged.

    They are squares of the declared value, and 0 in the mask.
    """
    assert dataset.absent_mask == (mask is not None)
    masked: Mask = np.zeros(raw.shape, bool) if mask is None else np.equal(mask, 0)
    if dataset.absent_value is None:
        return masked
    same = np.pad(raw == raw.dtype.type(dataset.absent_value), SQUARE, constant_values=True)
    found = np.zeros(same.shape, bool)
    for axis in range(3):
        square = np.ones([1 if a == axis else SQUARE for a in range(3)], bool)
        found |= ndimage.binary_opening(same, square)
    inner = slice(SQUARE, -SQUARE)
    masked |= found[inner, inner, inner]
    return masked


def labels_of(
    prediction: NDArray[np.uint8], rule: ObjectRule, absent: Mask | None = None
) -> NDArray[np.uint64]:
    """Return the labels of a whole prediction: components, holes, sizes, named by first voxel."""
    z, y, x = prediction.shape
    whole = Box((0, 0, 0), (z, y, x))
    absent = np.zeros((z, y, x), bool) if absent is None else absent
    mask = (smooth(prediction, rule.sigma, whole) >= rule.level) & ~absent
    structure = ndimage.generate_binary_structure(3, STRUCTURE[rule.connectivity])
    if rule.fill_holes == "all":
        holes, border = _holes(mask, absent)
        mask |= (holes > 0) & ~np.isin(holes, list(border))
    found, count = ndimage.label(mask, structure)
    if rule.fill_holes == "one":
        found = _fill_holes_of_one(found, absent)
    named = _named(found, count, (rule.least, rule.most))
    chosen = _among(named, rule.only) if rule.only else named != 0
    return np.where(chosen & ~_among(named, rule.without), named, np.uint64(0))


def _among(named: NDArray[np.uint64], ids: frozenset[int]) -> Mask:
    """Return where labels are among ids; as uint64: with int64, numpy would compare in float64."""
    found: Mask = np.isin(named, np.array(sorted(ids), np.uint64))
    return found


def _holes(mask: Mask, absent: Mask) -> tuple[NDArray[np.int32], set[int]]:
    """Return components of the background, and which are no holes: border or absent in them."""
    holes, _ = ndimage.label(~mask)
    return holes, set(np.unique(holes[_shell(holes.shape) | absent]).tolist())


def _fill_holes_of_one(found: NDArray[np.int32], absent: Mask) -> NDArray[np.int32]:
    """Give a background component the one object around it, unless it is no hole."""
    holes, border = _holes(found > 0, absent)
    filled = found.copy()
    for number, place in enumerate(ndimage.find_objects(holes), 1):
        if number in border:
            continue
        around = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in place)
        hole = holes[around] == number
        rim = ndimage.binary_dilation(hole) & ~hole
        owners = np.unique(found[around][rim])
        if len(owners) == 1:
            filled[around][hole] = owners[0]
    return filled


def _shell(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    shell = np.ones(shape, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    return shell


def _named(found: NDArray[np.int32], count: int, limits: tuple[int, float]) -> NDArray[np.uint64]:
    z, y, x = found.shape
    flat = found.reshape(-1)
    numbers, first, voxels = np.unique(flat, return_index=True, return_counts=True)
    names = np.zeros(count + 1, np.uint64)
    names[numbers] = gids(first, (0, 0, 0), (z, y, x)) + np.uint64(1)
    least, most = limits
    gone = numbers[(voxels < least) | (voxels > most)]
    names[gone] = 0
    names[0] = 0
    return names[found]


def table_of(
    labels: NDArray[np.uint64], raw: NDArray[Any], voxel_size_nm: tuple[float, float, float]
) -> pa.Table:
    """Return the table of a whole label volume, measured object by object."""
    ids = [int(i) for i in np.unique(labels) if i]
    dense = np.searchsorted(np.array([0, *ids], np.uint64), labels).astype(np.int32)
    rows = [
        _row(dense, raw, number, place)
        for number, place in enumerate(ndimage.find_objects(dense), 1)
        if place is not None
    ]
    total: Arrays = {"id": np.array(ids, np.uint64)}
    for name, shape in (("voxels", ()), ("wide", (9, 2)), ("crossings", (13,)),
                        ("border_faces", (3,)), ("euler", (2,)), ("low", (3,)), ("high", (3,)),
                        ("levels", ())):  # fmt: skip
        total[name] = np.array([row[name] for row in rows], np.int64).reshape(len(rows), *shape)
    none = np.zeros(0, np.int64)
    for name in ("level", "level_voxels"):
        total[name] = np.concatenate([none, *(row[name] for row in rows)])
    return finish(total, voxel_size_nm, raw=raw.dtype.kind in "ui")


def _row(
    dense: NDArray[np.int32], raw: NDArray[Any], number: int, place: tuple[slice, ...]
) -> dict[str, Any]:
    inside = dense[place] == number
    where = np.argwhere(inside).astype(object) + [s.start for s in place]
    z, y, x = where.T
    sums = [int(s.sum()) for s in (z, y, x, z * z, y * y, x * x, z * y, z * x, y * x)]
    level, level_voxels = np.unique(raw[place][inside], return_counts=True)
    euler: Any = euler_number
    return {
        "voxels": len(where),
        "wide": [[total // LIMB, total % LIMB] for total in sums],
        **_surface(dense, number, place),
        "euler": [euler(inside, 1), euler(inside, 3)],
        "low": where.min(0).tolist(),
        "high": where.max(0).tolist(),
        "levels": len(level),
        "level": level.astype(np.int64),
        "level_voxels": level_voxels,
    }


def _surface(
    dense: NDArray[np.int32], number: int, place: tuple[slice, ...]
) -> dict[str, list[int]]:
    """Return how often the object and anything else meet, and where the volume ends at it."""
    around = tuple(
        slice(max(s.start - 1, 0), min(s.stop + 1, n))
        for s, n in zip(place, dense.shape, strict=True)
    )
    near = dense[around] == number
    crossings = []
    for direction in DIRECTIONS:
        steps = list(zip(direction, near.shape, strict=True))
        ahead = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in steps)
        behind = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in steps)
        crossings.append(int((near[ahead] != near[behind]).sum()))
    ends = [np.moveaxis(dense == number, axis, 0)[[0, -1]] for axis in range(3)]
    return {"crossings": crossings, "border_faces": [int(end.sum()) for end in ends]}
