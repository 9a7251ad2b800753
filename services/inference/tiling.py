"""Predict one chunk from tiles, so that chunks of any shape meet without a seam.

Moved by ``stride`` a tile yields the same voxels, moved.  So what an output voxel depends on is a
matter of its place on the stride lattice, and the first and last ``stride`` voxels of an output
show how far it reaches: ``halo`` voxels and the rest of a cell, nothing more.  A chunk may then lay
its tiles wherever the lattice allows: what a tile yields beyond the chunk is dropped, and what it
reads beyond the halo only dropped voxels depend on.  That holds for any output of a stride or more;
where it is no multiple, or is finer than the input, tiles overlap or yield several voxels for one.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box, Halo, Index
from fibstream.core.stage import Patch

from .port import Engine, ModelSpec


def halo_of(spec: ModelSpec) -> Halo:
    """Return what a chunk of any shape at any offset must be read with.

    The first voxel of a chunk may be the last of its cell, and its last the first: so the halo is
    the network's and, on both sides, the rest of a cell.
    """
    z, y, x = (halo + stride - 1 for halo, stride in zip(spec.halo, spec.stride, strict=True))
    return Halo((z, y, x), (z, y, x))


def tiles(core: Box, spec: ModelSpec) -> list[Index]:
    """Return where the input of each tile starts, in raster order.

    Parameters
    ----------
    core
        The voxels to predict, in the dataset.
    spec
        The network.

    Returns
    -------
    list
        Starts ``(z, y, x)`` of the fewest tiles on the lattice ``phase + k * stride`` whose outputs
        cover ``core``, in voxels of the dataset. They may be negative, and outputs may reach beyond
        ``core``.
    """
    return list(product(*_starts(core, spec)))


def _starts(core: Box, spec: ModelSpec) -> tuple[range, range, range]:
    z, y, x = (
        range(a - halo - (a - halo - phase) % stride, b - halo, step)
        for a, b, halo, phase, stride, step in zip(
            core.start, core.stop, spec.halo, spec.phase, spec.stride, spec.step, strict=True
        )
    )
    return z, y, x


def waste(spec: ModelSpec, chunk: Index) -> float:
    """Return how many voxels the tiles yield for each voxel of a ``chunk``; at least 1.

    The mean over all chunks of a large volume: those off the lattice may need one tile more.
    """
    yields = 1.0
    for axis, edge in enumerate(chunk):
        counts = [
            len(_starts(Box((k * edge,) * 3, ((k + 1) * edge,) * 3), spec)[axis])
            for k in range(spec.stride[axis])
        ]
        yields *= sum(counts) / len(counts) * spec.output[axis] / edge
    return yields


def predict(
    patch: Patch, core: Box, engine: Engine, *, fill: int = 0,
    unwanted: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """Predict the voxels of one chunk.

    Beyond a border of the sealed volume the grey values are those of the volume reflected there,
    again and again where it is thinner than the halo (numpy's ``reflect``).

    Parameters
    ----------
    patch
        Grey values, uint8 (z, y, x): the chunk read with ``halo_of(spec)``, cut at the volume.
    core
        The chunk's voxels in the dataset.
    engine
        The network.
    fill
        Grey value where a tile reaches beyond the halo; no voxel of the result depends on it.
    unwanted
        Which voxels of the chunk nobody needs, (z, y, x); a tile that yields no other is not run,
        nor is one whose voxels are all absent.

    Returns
    -------
    NDArray[np.uint8]
        ``(classes, *core.shape)``, by ``spec.finer`` as many where the output is finer; 0 where
        voxels are absent, 0 or what they are where they are unwanted. Any other voxel is the same,
        bit by bit, whatever chunk it is predicted with.

    Raises
    ------
    Poison
        The network yields a value that is not finite, or outside what its metadata declare.
    """
    spec = engine.spec
    starts = _starts(core, spec)
    origin, grey = _canvas(patch, core, spec, starts, fill)
    result = np.zeros((len(spec.classes), *finer_shape(core.shape, spec)), np.uint8)
    for start in product(*starts):
        z, y, x = (a + halo for a, halo in zip(start, spec.halo, strict=True))
        kept = _box((z, y, x), spec.output).meet(core)
        needless = unwanted is not None and unwanted[kept.slices(core.start)].all()
        if needless or any(kept.meet(hole) == kept for hole in patch.absent):
            continue
        tile = grey[_box(start, spec.tile).slices(origin)]
        found = engine.infer(np.ascontiguousarray(tile))
        result[:, *_slices(kept, core.start, spec)] = found[:, *_slices(kept, (z, y, x), spec)]
    for hole in (box.meet(core) for box in patch.absent):
        if not hole.empty:
            result[:, *_slices(hole, core.start, spec)] = 0
    return result


def finer_shape(shape: Index, spec: ModelSpec) -> Index:
    """Return edges in voxels of the network's output, from those of its input."""
    z, y, x = (n * f for n, f in zip(shape, spec.finer, strict=True))
    return z, y, x


def _slices(box: Box, origin: Index, spec: ModelSpec) -> tuple[slice, ...]:
    """Return where a box lies in an array of output voxels that begins at ``origin``."""
    within = zip(box.slices(origin), spec.finer, strict=True)
    return tuple(slice(s.start * f, s.stop * f) for s, f in within)


def _box(start: Index, shape: Index) -> Box:
    return Box(start, start).grow(Halo((0, 0, 0), shape))


def _canvas(
    patch: Patch, core: Box, spec: ModelSpec, starts: tuple[range, range, range], fill: int
) -> tuple[Index, NDArray[np.uint8]]:
    """Return all that the tiles read and where it starts: the patch, its reflection, and fill."""
    whole = core.grow(halo_of(spec))
    assert patch.array.shape == patch.box.shape and whole.meet(patch.box) == patch.box, patch.box
    rim = [(a - low, high - b) for a, b, low, high in zip(*patch.box, *whole, strict=True)]
    reflected = np.pad(patch.array, rim, mode="reflect")
    z, y, x = (axis[0] for axis in starts)
    last = (axis[-1] for axis in starts)
    shape = [b - a + tile for a, b, tile in zip((z, y, x), last, spec.tile, strict=True)]
    canvas = np.full(shape, fill, np.uint8)
    known = whole.meet(_box((z, y, x), (shape[0], shape[1], shape[2])))
    canvas[known.slices((z, y, x))] = reflected[known.slices(whole.start)]
    return (z, y, x), canvas
