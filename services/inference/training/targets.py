"""Targets: signed distances of each class, where they are valid, and weights that balance them.

After Heinrich et al. 2021 (gunpowder ``AddDistance``, ``TanhSaturate``, ``BalanceByThreshold``).
All arrays are (z, y, x); truth is uint8, in which 0 is a voxel that nobody annotated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.kernels.edt import picometres
from fibstream.kernels.schema.classes import COMBINED, SUPER

from .near import near_squares

MAX_DISTANCE = 2.76  # of the scale: beyond it the tanh is saturated in a byte
SHARES = (0.05, 0.95)  # of voxels inside, when a class is balanced: no weight is above 10
# Where the surface lies: between the voxels inside and outside, as in the bytes of stored labels,
# or on the outermost voxels inside, as the paper has it, whose labels had voxels of 2 nm.
Surface = Literal["between", "voxel"]
Floats = NDArray[np.float32]
Voxel = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Truth:
    """What a crop knows of one class: ``ids`` in ``labels`` are inside, 0 is not annotated."""

    labels: NDArray[np.uint8]
    ids: tuple[int, ...]
    thin_nm: float = 0.0  # it was drawn that much too thin


def margin_nm(scale_nm: float) -> float:
    """Return how far beyond a patch its distances depend on labels."""
    return MAX_DISTANCE * scale_nm


def signed_distance(
    inside: NDArray[np.bool_], voxel_nm: Voxel, max_nm: float, surface: Surface = "between"
) -> Floats:
    """Return the signed distance to a surface in nm, positive inside, cut at ``max_nm``.

    ``between`` takes the centres of a voxel and the nearest one of the other side, less half of a
    voxel's shortest edge; ``voxel`` is ``EDT(erosion) - EDT(complement)``, 0 on the outermost
    voxels inside. Where all is inside, or nothing, it is ``max_nm``, or its negative.
    """
    if inside.all() or not inside.any():
        return np.full(inside.shape, max_nm if inside.all() else -max_nm, np.float32)
    most = max_nm + min(voxel_nm)
    if surface == "voxel":
        core = ndimage.binary_erosion(inside, np.ones((3, 3, 3), bool), border_value=1)
        distance = _to(voxel_nm, most, inside, ~core)
    else:
        distance = _to(voxel_nm, most, inside, ~inside) - min(voxel_nm) / 2
    cut: NDArray[Any] = np.clip(np.where(inside, distance, -distance), -max_nm, max_nm)
    return cut.astype(np.float32)


def _to(voxel_nm: Voxel, most_nm: float, *masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance of each voxel to the nearest one of a mask, in nm, up to a limit.

    Of two masks that hold all voxels it is the distance to the one that a voxel is not of. Beyond
    the limit it is something larger.
    """
    edges = picometres(voxel_nm, masks[0].shape)
    squares = [near_squares(mask, edges, ceil(1000 * most_nm)) for mask in masks]
    return np.asarray(np.sqrt(sum(squares[1:], squares[0])) / 1000)


def valid_distance(
    distance: Floats, edge: NDArray[np.float64], voxel_nm: Voxel, max_nm: float,
    surface: Surface = "between",
) -> NDArray[np.bool_]:  # fmt: skip
    """Return where a distance is sure: no surface in what is not annotated could be nearer.

    ``edge`` is that of `to_unknown`. Both are compared as float32: of equal ones none is nearer.
    """
    shortest = min(voxel_nm)
    if surface == "voxel":
        most = np.where(distance < 0, edge + shortest, edge)
        sure = np.abs(distance) < most.astype(np.float32)
    else:
        sure = np.abs(distance) <= (edge - shortest / 2).astype(np.float32)
    found: NDArray[np.bool_] = (edge > 0) & (sure | (edge >= max_nm))
    return found


def to_unknown(
    known: NDArray[np.bool_], voxel_nm: Voxel, most_nm: float
) -> NDArray[np.float64]:  # fmt: skip
    """Return the distance in nm to the nearest voxel that is not annotated, or beyond the array.

    It is 0 where a voxel is not annotated itself; beyond ``most_nm`` it may be anything larger.
    """
    if known.all():  # the nearest one lies straight beyond a face: no search is needed
        z, y, x = (
            (1 + np.minimum(np.arange(n), np.arange(n)[::-1])) * edge
            for n, edge in zip(known.shape, voxel_nm, strict=True)
        )
        return np.minimum(np.minimum(z[:, None, None], y[:, None]), x)
    return _to(voxel_nm, most_nm, ~np.pad(known, 1))[1:-1, 1:-1, 1:-1]


def targets(
    truths: Mapping[str, Truth], classes: Sequence[str], *, voxel_nm: Voxel, scale_nm: float,
    surface: Surface = "between",
) -> tuple[Floats, NDArray[np.bool_]]:  # fmt: skip
    """Return ``tanh(distance / scale_nm)`` of each class and where it holds.

    Parameters
    ----------
    truths
        Of all classes that the crop trains; others have no valid voxel.
    classes
        The classes, in the order of the network's channels.

    Returns
    -------
    Both ``(classes, z, y, x)``: float32 from -1 to 1, and bool.
    """
    shape = next(iter(truths.values())).labels.shape
    most = margin_nm(scale_nm)
    # Classes share the fine ids of a crop, and with them what is annotated.
    shared = {id(truth.labels): truth.labels for truth in truths.values()}
    edges = {key: to_unknown(labels > 0, voxel_nm, most) for key, labels in shared.items()}
    found = {
        name: _of(truth, edges[id(truth.labels)], voxel_nm, most, surface)
        for name, truth in truths.items()
    }
    distance = np.zeros((len(classes), *shape), np.float32)
    valid = np.zeros((len(classes), *shape), np.bool_)
    for channel, name in enumerate(classes):
        if name in found:
            parts = COMBINED.get(name, ())
            together = parts if set(parts) <= found.keys() & set(classes) else ()
            parts = together or (name,)
            distance[channel] = np.max([found[p][0] for p in parts], axis=0)
            # The paper takes any: then a distance is used whose nearer surface nobody annotated.
            valid[channel] = np.all([found[p][1] for p in parts], axis=0)
    return np.tanh(distance / np.float32(scale_nm)), valid


def _of(
    truth: Truth, edge: NDArray[np.float64], voxel_nm: Voxel, max_nm: float, surface: Surface
) -> tuple[Floats, NDArray[np.bool_]]:
    distance = signed_distance(np.isin(truth.labels, truth.ids), voxel_nm, max_nm, surface)
    valid = valid_distance(distance, edge, voxel_nm, max_nm, surface)
    if truth.thin_nm:
        distance = np.clip(distance, -max_nm, max_nm - truth.thin_nm) + np.float32(truth.thin_nm)
    return distance, valid


def balance(target: Floats, valid: NDArray[np.bool_], classes: Sequence[str]) -> Floats:
    """Return the weight of each voxel in the loss, shaped as a batch ``(n, classes, z, y, x)``.

    With p the share of voxels inside (above 0) among the valid ones of the whole batch, cut at
    5 and 95 %, voxels inside weigh 1 / (2 p), others 1 / (2 (1 - p)). A class with a ``balance`` of
    the schema takes the weights of that class, where it is predicted too.
    """
    own = np.zeros(target.shape, np.float32)
    for channel in range(len(classes)):
        mask, inside = valid[:, channel], target[:, channel] > 0
        if not mask.any():
            continue
        share = float(np.clip((inside & mask).sum() / mask.sum(), *SHARES))
        own[:, channel] = np.where(inside, 0.5 / share, 0.5 / (1 - share)) * mask
    taken = own.copy()
    for channel, name in enumerate(classes):
        parent = SUPER[name].balance if name in SUPER else None
        if parent in classes:
            taken[:, channel] = own[:, classes.index(parent)] * valid[:, channel]
    return taken
