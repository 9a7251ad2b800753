"""A small pair with a known transform: tubes of points in a specimen, more of them around it."""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from fibstream.services.registration.port import Image
from fibstream.services.registration.transform import Transform

EXTENT = np.array([3000.0, 9000.0, 9000.0])
FIELD = np.array([5000.0, 15000.0, 15000.0])
EM_NM, LIGHT_NM = (128.0, 128.0, 128.0), (125.0, 120.0, 120.0)


class Made(NamedTuple):
    """A prediction, a light image, and the affine map between them."""

    em: Image
    light: Image
    truth: Transform
    points: np.ndarray


def counted(points: np.ndarray, voxel_nm, shape, sigma_nm: float = 150.0) -> np.ndarray:
    index = np.floor(points / np.array(voxel_nm)).astype(int)
    index = index[((index >= 0) & (index < shape)).all(axis=1)]
    out = np.zeros(shape)
    np.add.at(out, tuple(index.T), 1.0)
    return gaussian_filter(out, np.array([sigma_nm / v for v in voxel_nm]))


def tubes(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    starts = rng.uniform(low, high, (count, 3))
    steps = rng.normal(0, 1, (count, 40, 3)) * [12.0, 25.0, 25.0] + rng.normal(
        0, 1, (count, 1, 3)
    ) * [12.0, 35.0, 35.0]
    return (starts[:, None] + np.cumsum(steps, axis=1)).reshape(-1, 3)


@cache
def made(seed: int = 1, angle_deg: float = 143.0, mirror: float = -1.0, flip: float = -1.0) -> Made:
    rng = np.random.default_rng(seed)
    inner = tubes(rng, np.zeros(3), EXTENT, 160)
    inner = inner[((inner >= 0) & (inner < EXTENT)).all(axis=1)]
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    turn = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    matrix = np.diag([0.95, 1.05, 1.05]) @ turn @ np.diag([flip, 1.0, mirror])
    offset = FIELD / 2 + [150.0, 700.0, -900.0] - matrix @ (EXTENT / 2)
    truth = Transform(matrix, offset)
    seen = truth.to_light(inner)
    outer = tubes(rng, np.array([800.0, -500.0, -500.0]), np.array([4200.0, 15500.0, 15500.0]), 420)
    back = truth.to_specimen(outer)
    seen = np.concatenate([seen, outer[((back < -300) | (back > EXTENT + 300)).any(axis=1)]])
    em = counted(inner, EM_NM, np.ceil(EXTENT / EM_NM).astype(int))
    light = counted(seen, LIGHT_NM, np.ceil(FIELD / LIGHT_NM).astype(int))
    photons = rng.poisson(40 * light / light.max() * 10 + 20) + rng.normal(100, 1.5, light.shape)
    prediction = (60 + 80 * em / np.quantile(em, 0.995)).clip(0, 255).astype(np.uint8)
    field = Image(photons.clip(0).astype(np.uint16), LIGHT_NM)
    return Made(Image(prediction, EM_NM), field, truth, inner[:: len(inner) // 200])
