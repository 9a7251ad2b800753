"""A phantom rendered chunk by chunk, for example to store it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Grid, Index

from .phantom import MEMBERS, Phantom
from .spec import PhantomSpec


@dataclass(frozen=True, slots=True)
class PhantomChunk:
    """One rendered chunk.

    ``raw`` and ``labels`` (fine ids) are ``(z, y, x)`` uint8; ``instances`` maps an organelle to
    its instance ids, ``(z, y, x)`` uint64.  ``index`` is the chunk's place in the grid.
    """

    index: Index
    box: Box
    raw: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: dict[str, NDArray[np.uint64]]


def grid_of(spec: PhantomSpec) -> Grid:
    """Return the grid of chunks of a specification."""
    z, y, x = (min(c, n) for c, n in zip(spec.chunk, spec.shape, strict=True))
    return Grid(spec.shape, (z, y, x))


def render_chunks(
    phantom: Phantom, organelles: tuple[str, ...] = tuple(MEMBERS)
) -> Iterator[PhantomChunk]:
    """Yield every chunk of a phantom in raster order; no chunk is kept in memory.

    ``organelles`` names those whose instances are rendered; each takes eight bytes a voxel.
    """
    grid = grid_of(phantom.spec)
    for index in np.ndindex(*grid.count):
        z, y, x = (int(i) for i in index)
        yield render_chunk(phantom, grid, (z, y, x), organelles)


def render_chunk(
    phantom: Phantom, grid: Grid, index: Index, organelles: tuple[str, ...]
) -> PhantomChunk:
    """Return one chunk of a phantom; chunks may be rendered in any order."""
    box = grid.box(index)
    raw, voxels = phantom.image_and_voxels(box)
    labels = phantom.labels_of(voxels)
    return PhantomChunk(
        index, box, raw, labels, {name: phantom.instances_of(name, voxels) for name in organelles}
    )
