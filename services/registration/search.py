"""Global search: any rotation about the optical axis, mirror, scale and shift, in projection.

Both images are summed along z and compared at every shift by normalised correlation through FFTs
(Padfield 2012, masked), so that neither the border of the specimen nor a field that holds only
part of it counts.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fibstream.core.errors import WrongUse
from fibstream.kernels.compiled import compiled

from .port import Image
from .sampling import Floats
from .settings import Settings

PIXEL_NM = 250.0
MAX_PIXELS = 256  # of the longer edge of a projection: larger fields get larger pixels
LEAST_OVERLAP = 0.35  # of the specimen's projection
APART_DEG, APART_SCALE, APART_NM = 8.0, 0.05, 1500.0  # nearer hypotheses are one
PER_TURN = 2  # places kept of one rotation, mirror and scale

Plane = NDArray[np.float32]


class Pose(NamedTuple):
    """``light = scale * R(angle) * M * (p - middle) + place`` in (y, x) nm; M mirrors x."""

    score: float
    angle: float  # radians
    mirror: int  # 1 or -1
    scale: float
    place: tuple[float, float]  # nm: where the middle of the specimen lies

    @property
    def matrix(self) -> Floats:
        """The linear part, (2, 2), axes (y, x)."""
        c, s = self.scale * math.cos(self.angle), self.scale * math.sin(self.angle)
        return np.array([[c, -s * self.mirror], [s, c * self.mirror]])


def search(em: Image, light: Image, settings: Settings) -> list[Pose]:
    """Return the best poses of a prepared pseudo-light image in a prepared light image.

    At most ``settings.candidates``, best first; two of them differ in rotation, scale, mirror or
    place.

    Raises
    ------
    WrongUse
        No pose overlaps by 35 % of the specimen: it is larger than the light image.
    """
    pixel = max(PIXEL_NM, float(light.extent_nm[1:].max()) / MAX_PIXELS)
    field, template = projected(light, pixel), projected(em, pixel)
    probe = _Field(field, template.shape, max(settings.scales))
    found: list[Pose] = []
    count = round(360 / settings.angle_deg)
    for mirror in (1, -1):
        for scale in settings.scales:
            for turn in range(count):
                pose = Pose(0.0, 2 * math.pi * turn / count, mirror, scale, (0.0, 0.0))
                for score, y, x in probe.best(template, pose):
                    place = (
                        (y + 0.5) * pixel + light.corner_nm[1],
                        (x + 0.5) * pixel + light.corner_nm[2],
                    )
                    found.append(pose._replace(score=score, place=place))
    if not found:
        raise WrongUse(
            f"light: no overlap, it spans {_micrometres(light)} and the specimen "
            f"{_micrometres(em)}; expected a light image that holds the specimen"
        )
    return _distinct(found, settings.candidates)


def _micrometres(image: Image) -> str:
    return " x ".join(f"{v / 1000:.3g}" for v in image.extent_nm[1:]) + " um"


def projected(image: Image, pixel_nm: float) -> Plane:
    """Return the mean along z on square pixels, each the mean of what it covers; (y, x)."""
    plane = image.voxels.mean(axis=0, dtype=np.float64)
    for axis in (0, 1):
        plane = _binned(plane, image.voxel_nm[axis + 1], pixel_nm, axis)
    return np.ascontiguousarray(plane, np.float32)


def _binned(plane: Floats, step: float, pixel: float, axis: int) -> Floats:
    """Return the integral over pixels along an axis, exact for piecewise constant values."""
    values = np.moveaxis(plane, axis, 0)
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    count = max(1, int(len(values) * step / pixel + 1e-9))
    edges = (np.arange(count + 1) * pixel / step).clip(0, len(values))
    low = np.minimum(edges.astype(int), len(values) - 1)
    part = (edges - low)[:, None]
    upto = sums[low] * (1 - part) + sums[low + 1] * part
    return np.moveaxis(np.diff(upto, axis=0) * step / pixel, 0, axis)


class _Field:
    """A light projection, transformed once, and buffers for templates."""

    def __init__(self, field: Plane, template: tuple[int, ...], largest: float) -> None:
        self.shape = field.shape
        half = int(math.hypot(*template) * largest / 2) + 2
        # The middle of the specimen lies in the field: half a template beyond each edge is enough.
        self._size = [fft.next_fast_len(n + half, real=True) for n in field.shape]
        self._half, self._edge = half, 2 * half + 1
        centred = field - field.mean(dtype=np.float64)
        planes = np.stack([centred, centred * centred, np.ones_like(field)]).astype(np.float32)
        self._seen = fft.rfft2(planes, s=self._size, workers=1)
        self._turned = np.zeros((3, self._edge, self._edge), np.float32)

    def best(self, template: Plane, pose: Pose) -> list[tuple[float, int, int]]:
        """Return (score, y, x) of the best places of a template, middle on pixel (y, x)."""
        turned = self._turned
        inverse = np.asarray(np.linalg.inv(pose.matrix), np.float64)
        turn(template, inverse, float(template.mean(dtype=np.float64)), turned)
        wrapped = np.zeros((3, *self._size), np.float32)
        _wrap(turned, self._half, wrapped)
        t, tt, m = np.conj(fft.rfft2(wrapped, workers=1))
        f, ff, one = self._seen
        # Sums over the overlap: f t, f, f f, t, t t, count.
        sums = fft.irfft2(
            np.stack([f * t, f * m, ff * m, one * t, one * tt, one * m]), s=self._size, workers=1
        )[:, : self.shape[0], : self.shape[1]]
        score = _scored(sums, LEAST_OVERLAP * float(turned[2].sum(dtype=np.float64)))
        return _peaks(score, max(1, round(0.25 * self._half)))


def _scored(sums: Plane, least: float) -> Plane:
    """Return the normalised correlation at each shift, -1 where fewer than ``least`` overlap."""
    ft, f, ff, t, tt, count = sums
    n = np.maximum(count, 1.0)
    above = ft - f * t / n
    below = (ff - f * f / n).clip(1e-9) * (tt - t * t / n).clip(1e-9)
    return np.where(count >= least, above / np.sqrt(below), np.float32(-1.0))


def _peaks(score: Plane, apart: int) -> list[tuple[float, int, int]]:
    """Return the highest values above 0, at most two, at least ``apart`` pixels from each other."""
    score, found = score.copy(), []
    for _ in range(PER_TURN):
        y, x = divmod(int(score.argmax()), score.shape[1])
        if score[y, x] <= 0:
            break
        found.append((float(score[y, x]), y, x))
        score[max(0, y - apart) : y + apart + 1, max(0, x - apart) : x + apart + 1] = -1
    return found


def _distinct(poses: list[Pose], most: int) -> list[Pose]:
    """Return the best poses that are not near a better one, best first."""
    kept: list[Pose] = []
    for pose in sorted(poses, key=lambda p: -p.score):
        if not any(_near(pose, other) for other in kept):
            kept.append(pose)
            if len(kept) == most:
                break
    return kept


def _near(a: Pose, b: Pose) -> bool:
    turn = math.degrees(abs(math.remainder(a.angle - b.angle, 2 * math.pi)))
    return (
        a.mirror == b.mirror and turn < APART_DEG and abs(a.scale - b.scale) < APART_SCALE
        and math.dist(a.place, b.place) < APART_NM
    )  # fmt: skip


@compiled
def turn(template: Plane, inverse: Floats, mean: float, out: NDArray[np.float32]) -> None:
    """Write a turned template less its mean, its square, and where it is; zero elsewhere.

    ``inverse`` maps pixels of ``out`` from its middle to pixels of the template from its middle.
    """
    rows, columns = template.shape
    half = out.shape[1] // 2
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            a = inverse[0, 0] * (i - half) + inverse[0, 1] * (j - half) + 0.5 * (rows - 1)
            b = inverse[1, 0] * (i - half) + inverse[1, 1] * (j - half) + 0.5 * (columns - 1)
            out[0, i, j] = out[1, i, j] = out[2, i, j] = np.float32(0.0)
            if not (0.0 <= a <= rows - 1 and 0.0 <= b <= columns - 1):
                continue
            y, x = min(int(a), rows - 2), min(int(b), columns - 2)
            p, q = a - y, b - x
            low = template[y, x] * (1 - q) + template[y, x + 1] * q
            high = template[y + 1, x] * (1 - q) + template[y + 1, x + 1] * q
            value = low * (1 - p) + high * p - mean
            out[0, i, j] = np.float32(value)
            out[1, i, j] = np.float32(value * value)
            out[2, i, j] = np.float32(1.0)


@compiled
def _wrap(turned: NDArray[np.float32], half: int, out: NDArray[np.float32]) -> None:
    """Add templates to a periodic plane, their middle at pixel (0, 0)."""
    for n in range(3):
        for i in range(turned.shape[1]):
            y = (i - half) % out.shape[1]
            for j in range(turned.shape[2]):
                out[n, y, (j - half) % out.shape[2]] += turned[n, i, j]
