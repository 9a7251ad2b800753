"""A phantom chunk by chunk, for whoever stores it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Grid, Index

from .phantom import MEMBERS, Phantom
from .spec import PhantomSpec


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk: its index in the grid and its box; raw and fine ids uint8, instances uint64."""

    index: Index
    box: Box
    raw: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: dict[str, NDArray[np.uint64]]


def grid_of(spec: PhantomSpec) -> Grid:
    """Return how a specification is cut into chunks."""
    z, y, x = (min(c, n) for c, n in zip(spec.chunk, spec.shape, strict=True))
    return Grid(spec.shape, (z, y, x))


def pieces(phantom: Phantom, organelles: tuple[str, ...] = tuple(MEMBERS)) -> Iterator[Piece]:
    """Yield every chunk of a phantom in raster order; nothing is kept between two of them.

    ``organelles`` are those whose instances are wanted; each costs eight bytes a voxel.
    """
    grid = grid_of(phantom.spec)
    for index in np.ndindex(*grid.count):
        z, y, x = (int(i) for i in index)
        yield piece(phantom, grid, (z, y, x), organelles)


def piece(phantom: Phantom, grid: Grid, index: Index, organelles: tuple[str, ...]) -> Piece:
    """Return one chunk of a phantom; chunks may be asked for in any order."""
    box = grid.box(index)
    raw, voxels = phantom.everything(box)
    labels = phantom.labels_of(voxels)
    return Piece(
        index, box, raw, labels, {name: phantom.instances_of(name, voxels) for name in organelles}
    )
