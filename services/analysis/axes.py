"""Eigenvalues of symmetric matrices of 3 x 3, the same on every machine."""

import numpy as np
from numpy.typing import NDArray

SWEEPS = 8  # convergence is quadratic: six reach the last bit


def principal(matrices: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues of covariances, and the axis of the largest.

    Jacobi's rotations (Golub and Van Loan, 8.5) for all matrices at a time, in additions,
    multiplications, divisions and square roots, which IEEE 754 defines to the last bit; what
    LAPACK gives depends on the processor.

    Parameters
    ----------
    matrices
        Entries zz, yy, xx, zy, zx and yx, ``(n, 6)``.

    Returns
    -------
    values
        Descending and not negative, ``(n, 3)``.
    axes
        Unit vectors (z, y, x) of the largest, ``(n, 3)``; the component that is largest in size is
        positive. Where eigenvalues are equal, one of those that there are.
    """
    zz, yy, xx, zy, zx, yx = matrices.T
    a = np.array([[zz, zy, zx], [zy, yy, yx], [zx, yx, xx]])
    vectors = np.zeros_like(a)
    vectors[range(3), range(3)] = 1
    for _ in range(SWEEPS):
        for p, q in ((0, 1), (0, 2), (1, 2)):
            _rotate(a, vectors, p, q)
    values = np.maximum(a[range(3), range(3)], 0).T
    order = np.argsort(-values, axis=1, kind="stable")
    rows = np.arange(len(values))
    major = vectors[:, order[:, 0], rows].T
    sign = np.sign(major[rows, np.abs(major).argmax(axis=1)])
    return np.take_along_axis(values, order, axis=1), major * sign[:, None]


def _rotate(a: NDArray[np.float64], vectors: NDArray[np.float64], p: int, q: int) -> None:
    """Turn the matrices ``(3, 3, n)`` so that entry (p, q) becomes 0."""
    off = a[p, q].copy()
    turned = off != 0
    with np.errstate(over="ignore"):  # of a tiny entry: then the angle is 0
        theta = (a[q, q] - a[p, p]) / np.where(turned, 2 * off, 1)
        tangent = np.where(theta < 0, -1, 1) / (np.abs(theta) + np.sqrt(theta * theta + 1))
    tangent = np.where(turned, tangent, 0)
    cosine = 1 / np.sqrt(tangent * tangent + 1)
    sine = tangent * cosine
    a[p, p] -= tangent * off
    a[q, q] += tangent * off
    a[p, q] = a[q, p] = 0
    r = 3 - p - q
    one, other = cosine * a[r, p] - sine * a[r, q], sine * a[r, p] + cosine * a[r, q]
    a[r, p] = a[p, r] = one
    a[r, q] = a[q, r] = other
    left, right = vectors[:, p].copy(), vectors[:, q].copy()
    vectors[:, p] = cosine * left - sine * right
    vectors[:, q] = sine * left + cosine * right
