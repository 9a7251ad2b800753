"""Hashes of results as they are published: independent of chunks, order and workers. Pure."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import canonical

BOX = 64  # voxels an edge: the fixed grid of the hash, whatever the chunks are

Read = Callable[[Box], NDArray[Any]]


def labels_hash(volumes: Mapping[str, tuple[Index, Read]]) -> str:
    """Return the sha256 in hex of volumes, each read in boxes of 64³ voxels in raster order.

    ``volumes`` maps a name to the volume's shape (z, y, x) in voxels and a function that returns
    the voxels of a box. Volumes are hashed by name; each box contributes its shape and dtype as
    JSON and its little-endian bytes in C order.
    """
    state = hashlib.sha256()
    for name in sorted(volumes):
        shape, read = volumes[name]
        edges = tuple(min(BOX, s) for s in shape)
        grid = Grid(shape, (edges[0], edges[1], edges[2]))
        state.update(name.encode() + b"\n")
        for index in grid.indices():
            part = read(grid.box(index))
            plain = np.ascontiguousarray(part, part.dtype.newbyteorder("<"))
            state.update(canonical([list(plain.shape), plain.dtype.str]))
            state.update(plain.tobytes())
    return state.hexdigest()


def tables_hash(tables: Mapping[str, str]) -> str:
    """Return one sha256 in hex over ``tables``, which maps names to hashes of the rows."""
    state = hashlib.sha256()
    for name in sorted(tables):
        state.update(canonical([name, tables[name]]))
    return state.hexdigest()
