"""A smooth displacement through matched patches: cubic B-splines with bending energy, robust.

Minimises ``sum w |u(p) - target|^2 + bending * (second differences)^2`` by axis; Tukey weights take
outliers out.  The systems are sparse and solved by conjugate gradients whose sums have a fixed
order, so threads change no bit and large fields fit into memory.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .match import Matches
from .port import Image
from .sampling import Floats, node_weights
from .transform import Spline, Transform

ROUNDS = 5  # of reweighting
# Median deviations beyond which a patch does not count.  By 4 a region that had moved further than
# the rest was an outlier as a whole, and no later pass could follow it.
TUKEY = 8.0
FLOOR_NM = 5.0  # of a deviation
STIFFNESS = 0.02  # of bending: first differences, so that nodes without patches are determined
PAD_NM = 500.0  # of the grid's domain around the specimen
LEAST_STRETCH = 0.25  # of det J: below it the bending energy is raised
HARDER, MAX_HARDER = 3.0, 12
CHECK_NM = 400.0  # spacing of the places at which folds are searched
TOLERANCE, MAX_STEPS = 1e-6, 3000  # of a residual: less than a hundredth of a nanometre


class Grid(NamedTuple):
    """Nodes of a spline over a specimen, and its bending energy as a sparse matrix."""

    shape: tuple[int, int, int]
    origin: Floats
    spacing: Floats
    penalty: sparse.csr_matrix


class Fit(NamedTuple):
    """A spline, the weights (n, 3) that each patch had in the end, and the bending used."""

    spline: Spline
    weight: Floats
    bending: float


def grid_over(em: Image, knots_nm: float) -> Grid:
    """Return the grid whose domain holds a specimen with half a micrometre around it."""
    cells = np.maximum(1, np.ceil((em.extent_nm + 2 * PAD_NM) / knots_nm)).astype(int)
    spacing = np.full(3, float(knots_nm))
    origin = em.middle_nm - spacing * (cells / 2 + 1)
    z, y, x = (int(n) + 3 for n in cells)
    return Grid((z, y, x), origin, spacing, _penalty((z, y, x)))


def _penalty(shape: tuple[int, int, int]) -> sparse.csr_matrix:
    """Return the quadratic form of squared second differences, and a little of the first."""
    total = sparse.csr_matrix((int(np.prod(shape)),) * 2)
    for share, d in bends(shape):
        total = total + share * (d.T @ d).tocsr()
    return total.tocsr()


def bends(shape: tuple[int, int, int]) -> Iterator[tuple[float, sparse.csr_matrix]]:
    """Yield the differences whose squares the bending energy sums, and the share of each."""
    ones = [sparse.identity(n, format="csr") for n in shape]
    first = [_differences(n, (-1.0, 1.0)) for n in shape]
    second = [_differences(n, (1.0, -2.0, 1.0)) for n in shape]

    def product(factors: list[sparse.csr_matrix]) -> sparse.csr_matrix:
        return sparse.kron(sparse.kron(factors[0], factors[1]), factors[2]).tocsr()

    for a in range(3):
        yield 1.0, product([second[k] if k == a else ones[k] for k in range(3)])
        yield 2.0, product([ones[k] if k == a else first[k] for k in range(3)])
        yield STIFFNESS, product([first[k] if k == a else ones[k] for k in range(3)])


def _differences(n: int, stencil: tuple[float, ...]) -> sparse.csr_matrix:
    rows = n - len(stencil) + 1
    diagonals = [np.full(rows, value) for value in stencil]
    return sparse.diags(diagonals, range(len(stencil)), shape=(rows, n), format="csr")


def targets(matches: Matches, start: Transform) -> Floats:
    """Return the displacements that patches ask for, (n, 3) nm: u(p + d) + d of the start."""
    moved = matches.place + matches.move
    if start.spline is None:
        return np.asarray(matches.move)
    return np.asarray(start.spline.at(moved)[0] + matches.move)


def basis(grid: Grid, points: Floats) -> sparse.csr_matrix:
    """Return the sparse matrix that makes displacements (n,) of coefficients (nodes,)."""
    node, value = np.empty((len(points), 64), np.int64), np.empty((len(points), 64))
    points = np.ascontiguousarray(points)
    node_weights(points, np.array(grid.shape, np.int64), grid.origin, grid.spacing, node, value)
    rows = np.arange(0, 64 * len(points) + 1, 64)
    return sparse.csr_matrix(
        (value.ravel(), node.ravel(), rows), shape=(len(points), int(np.prod(grid.shape)))
    )


def fit(grid: Grid, points: Floats, target: Floats, weight: Floats, bending: float) -> Fit:
    """Return the smoothest spline through patches.

    Parameters
    ----------
    grid
        Where the nodes are.
    points, target, weight
        (n, 3) each: places and displacements in nm, weights by axis (0: not used).
    bending
        Weight of the bending energy; raised by threes while the spline nearly folds.
    """
    for _ in range(MAX_HARDER):
        found, robust = solved(grid, points, target, weight, bending)
        if float(stretch_of(found, grid).min()) >= LEAST_STRETCH:
            break
        bending *= HARDER
    return Fit(found, robust, bending)


def solved(
    grid: Grid, points: Floats, target: Floats, weight: Floats, bending: float,
    rounds: int = ROUNDS,
) -> tuple[Spline, Floats]:  # fmt: skip
    """Return the spline of one bending weight, and the patches' weights after reweighting.

    With one round nothing is reweighted: no patch counts as an outlier.
    """
    b = basis(grid, points)
    scale = weight[weight > 0]
    base = weight / (float(scale.mean()) if len(scale) else 1.0)
    used, c = base, np.zeros((b.shape[1], 3))
    for _ in range(rounds):
        for axis in range(3):
            w = used[:, axis]
            if axis != 2 or not np.array_equal(w, used[:, 1]):
                matrix = (b.T @ b.multiply(w[:, None]).tocsr() + bending * grid.penalty).tocsr()
            c[:, axis] = conjugate(matrix, b.T @ (w * target[:, axis]), c[:, axis])
        used = base * _tukey(b @ c - target, base)[:, None]
    return Spline(c.reshape(*grid.shape, 3), grid.origin, grid.spacing), used


def _tukey(residual: Floats, weight: Floats) -> Floats:
    """Return Tukey's biweight of residual lengths, (n,)."""
    size = np.sqrt((residual * residual).sum(axis=1))
    seen = size[weight[:, 0] > 0]
    if not len(seen):
        return np.ones(len(size))
    cut = TUKEY * max(float(np.median(seen)), FLOOR_NM)
    return np.asarray((1.0 - (size / cut).clip(0, 1) ** 2) ** 2)


def conjugate(
    matrix: sparse.csr_matrix, right: Floats, start: Floats, tolerance: float = TOLERANCE
) -> Floats:
    """Return the solution of a symmetric positive system by conjugate gradients.

    ``sum`` and the product of a sparse matrix run in one fixed order, unlike a library's ``dot``.
    """
    x = start.copy()
    invert = 1.0 / matrix.diagonal()
    rest = right - matrix @ x
    z = invert * rest
    step, now = z.copy(), float((rest * z).sum())
    goal = tolerance**2 * float((right * invert * right).sum())
    for _ in range(MAX_STEPS):
        if now <= goal:
            break
        pushed = matrix @ step
        length = now / float((step * pushed).sum())
        x += length * step
        rest -= length * pushed
        z = invert * rest
        before, now = now, float((rest * z).sum())
        step = z + (now / before) * step
    return x


def stretch_of(spline: Spline, grid: Grid) -> Floats:
    """Return det J at places 400 nm apart all over the grid's domain, (n,)."""
    low, high = domain(grid)
    axes = [
        np.linspace(a, b, max(2, int((b - a) / CHECK_NM) + 1))
        for a, b in zip(low, high, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return Transform(np.eye(3), np.zeros(3), spline).stretch(points)


def domain(grid: Grid) -> tuple[Floats, Floats]:
    """Return the corners of the box in which the spline is known, (3,) nm each."""
    nodes: NDArray[np.int64] = np.array(grid.shape)
    return grid.origin + grid.spacing, grid.origin + grid.spacing * (nodes - 2)
