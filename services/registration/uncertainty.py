"""How far off a transform may be at any place: small near patches, growing away from them.

The fit is the mean of a Gaussian process whose precision is that of patches and bending energy; its
spread follows from both alone.  Samples of it are solutions with random right-hand sides whose
covariance is that precision (Papandreou and Yuille 2010), so a large field needs no inverse.  Its
shape is known, not its size, since patches that overlap err together: the median at patches is set
to their error by cross-validation.
"""

import math

import numpy as np
from scipy import sparse

from .fit import Fit, Grid, basis, bends, conjugate
from .port import Image
from .sampling import Floats
from .transform import Spline

SAMPLES = 24  # a deviation is known to 1 / sqrt(2 * 24) = 14 %
STEP_NM = 1000.0
CLOSE = 1e-3  # of a residual: the samples themselves are random
TINY_NM = 1e-9


def error_map(em: Image, grid: Grid, points: Floats, fit: Fit, error_nm: float) -> Image:
    """Return the error to expect at places 1 um apart all over a specimen, float32 nm.

    Infinite where nothing is known: no patch has a weight.

    Parameters
    ----------
    em
        The specimen.
    grid, points, fit
        Of the last fit, with the weights that patches had in the end.
    error_nm
        The median error of patches by cross-validation, nm of the light image.
    """
    count = np.maximum(1, np.ceil(em.extent_nm / STEP_NM)).astype(int)
    step = em.extent_nm / count
    z, y, x = (float(v) for v in step)
    axes = [c + (np.arange(n) + 0.5) * s for c, n, s in zip(em.corner_nm, count, step, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    used = (fit.weight > 0).all(axis=1)
    values = np.full(len(places), math.inf)
    if used.any() and math.isfinite(error_nm):
        both = spread(grid, points, fit, np.concatenate([places, points[used]]))
        middle = max(float(np.median(both[len(places) :])), TINY_NM)
        values = both[: len(places)] * (error_nm / middle)
    return Image(values.reshape(count).astype(np.float32), (z, y, x), em.corner_nm)


def spread(grid: Grid, points: Floats, fit: Fit, places: Floats) -> Floats:
    """Return the deviation of a fit at places, (n,), in units of its own."""
    b = basis(grid, points)
    forms = [(math.sqrt(fit.bending * share), d) for share, d in bends(grid.shape)]
    total = np.zeros(len(places))
    for axis, times in ((0, 1.0), (1, 2.0)):  # y and x have equal weights
        root = np.sqrt(fit.weight[:, axis])
        seen = b.multiply(root[:, None]).tocsr()
        matrix = (seen.T @ seen + fit.bending * grid.penalty).tocsr()
        for n in range(SAMPLES):
            c = _sample(matrix, seen, forms, 2 * n + axis)
            field = np.repeat(c.reshape(*grid.shape, 1), 3, axis=3)
            u, _, _ = Spline(np.ascontiguousarray(field), grid.origin, grid.spacing).at(places)
            total += times / SAMPLES * u[:, 0] ** 2
    return np.asarray(np.sqrt(total))


def _sample(
    matrix: sparse.csr_matrix, seen: sparse.csr_matrix,
    forms: list[tuple[float, sparse.csr_matrix]], number: int,
) -> Floats:  # fmt: skip
    """Return random coefficients whose covariance is the inverse of ``matrix``."""
    right = seen.T @ signs(seen.shape[0], number, 0)
    for n, (scale, d) in enumerate(forms, 1):
        right = right + scale * (d.T @ signs(d.shape[0], number, n))
    return conjugate(matrix, right, np.zeros(len(right)), CLOSE)


def signs(count: int, sample: int, part: int) -> Floats:
    """Return 1 or -1 each, (count,): bits of splitmix64 of their number (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) + np.uint64((sample << 48) + (part << 40))
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.where((z ^ (z >> np.uint64(31))) >> np.uint64(63), 1.0, -1.0)
