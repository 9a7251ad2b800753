"""Training patches: signed distance targets, sampling and augmentation. Pure, seeded numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MAX_DISTANCE = 2.76  # of the scale: beyond it the tanh is saturated in uint8 (Heinrich et al. 2021)


@dataclass(frozen=True)
class Annotated:
    """A volume and its truth, all (z, y, x); ``target`` in units of the scale, ``valid`` 0 or 1."""

    raw: NDArray[np.uint8]
    target: NDArray[np.float32]
    valid: NDArray[np.float32]
    inside: NDArray[np.int64]  # flat indices of organelle voxels


def signed_distance(
    mask: NDArray[np.bool_], voxel_size_nm: float, max_nm: float
) -> NDArray[np.float32]:
    """Signed distance to the surface of ``mask`` in nm, positive inside, zero between voxels.

    It is clipped at ``max_nm`` on both sides.
    """
    inside = ndimage.distance_transform_edt(mask) - 0.5
    outside = ndimage.distance_transform_edt(~mask) - 0.5
    signed = np.where(mask, inside, -outside) * voxel_size_nm
    clipped: NDArray[np.float64] = np.clip(signed, -max_nm, max_nm)
    return clipped.astype(np.float32)


def annotate(
    raw: NDArray[np.uint8], mask: NDArray[np.bool_], *, voxel_size_nm: float, scale_nm: float
) -> Annotated:
    """Prepare one volume; a voxel whose surface could lie beyond the annotated box is not valid."""
    max_nm = MAX_DISTANCE * scale_nm
    distance = signed_distance(mask, voxel_size_nm, max_nm)
    z, y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in mask.shape)
    to_edge = (np.minimum(np.minimum(z[:, None, None], y[:, None]), x) + 0.5) * voxel_size_nm
    valid = (np.abs(distance) <= to_edge) | (to_edge >= max_nm)
    return Annotated(raw, distance / scale_nm, valid.astype(np.float32), np.flatnonzero(mask))


def _reflect(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    period = max(2 * (size - 1), 1)
    folded = np.abs(index) % period
    reflected: NDArray[np.int64] = np.minimum(folded, period - folded)
    return reflected


def draw(
    volume: Annotated, rng: np.random.Generator, *, output: int, halo: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Draw one augmented patch: raw ``(output + 2 halo)³`` in [-1, 1]; target, valid ``output³``.

    Half of the patches are centred near an organelle voxel. Beyond the volume the patch is
    reflected, as inference does at a sealed border.
    """
    shape = volume.raw.shape
    if rng.random() < 0.5:
        flat = int(volume.inside[rng.integers(len(volume.inside))])
        near = rng.integers(-output // 3, output // 3, 3)
        centre = np.array(np.unravel_index(flat, shape)) + near
    else:
        centre = rng.integers(0, shape)
    around = [
        _reflect(np.arange(c - output // 2 - halo, c + (output + 1) // 2 + halo), n)
        for c, n in zip(centre, shape, strict=True)
    ]
    core = [index[halo:-halo] for index in around]
    axes = tuple(rng.permutation(3))
    flips = tuple(slice(None, None, int(step)) for step in rng.choice((1, -1), 3))

    def turn(a: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(a.transpose(axes)[flips])

    raw = augment_grey((volume.raw[np.ix_(*around)] / np.float32(255)).astype(np.float32), rng)
    return (
        turn(raw * 2 - 1),
        turn(volume.target[np.ix_(*core)]),
        turn(volume.valid[np.ix_(*core)]),
    )


def augment_grey(raw: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Vary gamma, contrast, brightness, sharpness and noise of grey values in [0, 1]."""
    raw = raw ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.4:
        raw = ndimage.gaussian_filter(raw, rng.uniform(0.3, 1.1))
    mean = raw.mean()
    raw = (raw - mean) * rng.uniform(0.55, 1.5) + mean + rng.uniform(-0.15, 0.15)
    if rng.random() < 0.5:
        raw = raw + rng.normal(0, rng.uniform(0.01, 0.06), raw.shape).astype(np.float32)
    return np.clip(raw, 0, 1).astype(np.float32)
