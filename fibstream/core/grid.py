"""The geometry of a volume cut into chunks: boxes, halos, and which chunks a block reads. Pure.

A *chunk* is a unit of landing, of storage and of announcement. A *block* is a unit of work: one
chunk, read with a halo that reaches into its neighbours. Every index, shape and halo is
``(z, y, x)``; lengths are voxels unless the name ends in ``_nm``. Planners compute boxes more often
than anything else: the arithmetic is written out, three times as fast as loops over axes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

from .errors import LimitExceeded, WrongUse

Index = tuple[int, int, int]

MAX_AXIS = 2**21  # voxels: a global id packs each axis into 21 bits
MAX_CHUNK = 512  # voxels an edge: a worker holds a few blocks in memory
# A dataset: a planner keeps some kilobytes of records of each, and 100 TB are a million of 512.
MAX_CHUNKS = 1_000_000


def check_edges(edges: Sequence[int | None], most: int, what: str) -> None:
    """Raise WrongUse when an edge that is known has not 1 to ``most`` voxels."""
    if not all(edge is None or 0 < edge <= most for edge in edges):
        raise WrongUse(f"{what}: expected Z,Y,X with edges from 1 to {most} voxels")


def check_count(shape: tuple[int | None, int, int], chunk: Index) -> None:
    """Raise LimitExceeded when a volume has too many chunks, with the chunk that would do.

    Of an open z (None) one layer is counted; `Grid.check_growth` counts those that land.
    """
    count = _chunks(shape, chunk)
    if count <= MAX_CHUNKS:
        return
    _, y, x = shape
    # An open volume is taken to become as deep as it is wide, if that can be.
    fit = _fitting((shape[0] or max(y, x), y, x), chunk) or _fitting(shape, chunk)
    does = f"{','.join(map(str, fit))} would do" if fit else f"no edges up to {MAX_CHUNK} would do"
    extent = ",".join("?" if edge is None else str(edge) for edge in shape)
    layer = "" if shape[0] else " in one layer"
    raise LimitExceeded(
        f"chunk {','.join(map(str, chunk))}: {count} chunks{layer} of a volume of {extent}; "
        f"at most {MAX_CHUNKS} a dataset: {does}"
    )


def _fitting(shape: Sequence[int | None], chunk: Index) -> Index | None:
    """Return a chunk with which a volume has few enough, its short edges doubled; None if none."""
    most = [MAX_CHUNK if edge is None else min(MAX_CHUNK, edge) for edge in shape]
    fit = list(chunk)
    while _chunks(shape, fit) > MAX_CHUNKS:
        short = [axis for axis in range(3) if fit[axis] < most[axis]]
        if not short:
            return None
        axis = min(short, key=fit.__getitem__)
        fit[axis] = min(2 * fit[axis], most[axis])
    z, y, x = fit
    return z, y, x


def _chunks(shape: Sequence[int | None], chunk: Sequence[int]) -> int:
    """Return the number of chunks of a volume; of an open z, of one layer."""
    return math.prod(1 if s is None else -(-s // c) for s, c in zip(shape, chunk, strict=True))


class Halo(NamedTuple):
    """Voxels read beyond a chunk, before its start and after its stop."""

    low: Index
    high: Index

    @classmethod
    def of(cls, voxels: int) -> "Halo":
        """Return a halo of ``voxels`` on all six sides."""
        return cls((voxels,) * 3, (voxels,) * 3)


class Box(NamedTuple):
    """Half-open box ``[start, stop)`` in voxels."""

    start: Index
    stop: Index

    @property
    def shape(self) -> Index:
        """Edge lengths in voxels, never negative."""
        z, y, x = (max(b - a, 0) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def empty(self) -> bool:
        """Whether the box holds no voxel."""
        return 0 in self.shape

    def grow(self, halo: Halo) -> "Box":
        """Return the box widened by ``halo``, not clipped."""
        (az, ay, ax), (bz, by, bx) = self
        (lz, ly, lx), (hz, hy, hx) = halo
        return Box((az - lz, ay - ly, ax - lx), (bz + hz, by + hy, bx + hx))

    def meet(self, other: "Box") -> "Box":
        """Return the intersection with ``other``; it may be empty."""
        (az, ay, ax), (bz, by, bx) = self
        (cz, cy, cx), (dz, dy, dx) = other
        start = max(az, cz), max(ay, cy), max(ax, cx)
        return Box(start, (min(bz, dz), min(by, dy), min(bx, dx)))

    def relative(self, origin: Index) -> "Box":
        """Return the box as seen from ``origin``, which becomes 0."""
        az, ay, ax = (a - o for a, o in zip(self.start, origin, strict=True))
        bz, by, bx = (b - o for b, o in zip(self.stop, origin, strict=True))
        return Box((az, ay, ax), (bz, by, bx))

    def slices(self, origin: Index = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Return the slices (z, y, x) of this box in an array whose first voxel is ``origin``."""
        z, y, x = (
            slice(a - o, b - o) for a, b, o in zip(self.start, self.stop, origin, strict=True)
        )
        return z, y, x


@dataclass(frozen=True, slots=True)
class Grid:
    """A volume of ``shape`` voxels cut into chunks of ``chunk``; the last of an axis may be short.

    The extent in z is ``None`` until the acquisition is sealed: then no chunk is known to be last.
    """

    shape: tuple[int | None, int, int]
    chunk: Index

    def __post_init__(self) -> None:
        assert all(s is None or 0 < s <= MAX_AXIS for s in self.shape), self.shape
        assert all(0 < c <= MAX_CHUNK for c in self.chunk), self.chunk

    @property
    def sealed(self) -> bool:
        """Whether the extent in z is known."""
        return self.shape[0] is not None

    @property
    def extent(self) -> Index:
        """Extent (z, y, x) in voxels; in an open z the largest possible."""
        return self.shape[0] or MAX_AXIS, self.shape[1], self.shape[2]

    @property
    def count(self) -> Index:
        """Number of chunks along (z, y, x); in an open z the largest possible."""
        (z, y, x), (cz, cy, cx) = self.extent, self.chunk
        return -(-z // cz), -(-y // cy), -(-x // cx)

    @property
    def layers(self) -> int:
        """Number of chunk layers in z; in an open z the most that a dataset may have."""
        z, y, x = self.count
        return z if self.sealed else max(min(z, MAX_CHUNKS // (y * x)), 1)

    def check_growth(self, index: Index) -> None:
        """Raise LimitExceeded when a chunk lies beyond the most layers of an open volume."""
        if index[0] >= self.layers:
            _, y, x = self.count
            raise LimitExceeded(
                f"chunk {index}: beyond the last layer {self.layers - 1}; layers of {y * x} chunks,"
                f" at most {MAX_CHUNKS} chunks a dataset"
            )

    @property
    def volume(self) -> Box:
        """The whole volume."""
        return Box((0, 0, 0), self.extent)

    def indices(self) -> Iterator[Index]:
        """Yield every chunk of a sealed volume in raster order."""
        assert self.sealed
        yield from product(*(range(n) for n in self.count))

    def contains(self, index: Index) -> bool:
        """Whether ``index`` names a chunk of this grid."""
        (iz, iy, ix), (z, y, x) = index, self.count
        return 0 <= iz < z and 0 <= iy < y and 0 <= ix < x

    def box(self, index: Index) -> Box:
        """Return the voxels of one chunk, cut at the volume's end."""
        (iz, iy, ix), (cz, cy, cx) = index, self.chunk
        z, y, x = iz * cz, iy * cy, ix * cx
        return Box((z, y, x), (z + cz, y + cy, x + cx)).meet(self.volume)

    def block(self, index: Index, halo: Halo) -> Box:
        """Return what the block at ``index`` reads: its chunk and halo, cut at the volume."""
        return self.box(index).grow(halo).meet(self.volume)

    def covering(self, box: Box) -> Iterator[Index]:
        """Yield the chunks that hold a voxel of ``box``, in raster order."""
        inside = box.meet(self.volume)
        if inside.empty:
            return
        spans = (
            range(a // c, (b - 1) // c + 1)
            for a, b, c in zip(inside.start, inside.stop, self.chunk, strict=True)
        )
        yield from product(*spans)

    def reach(self, index: Index, halo: Halo) -> Iterator[Index]:
        """Yield every chunk that the block at ``index`` reads, itself included."""
        yield from self.covering(self.block(index, halo))

    def readers(self, index: Index, halo: Halo) -> Iterator[Index]:
        """Yield every chunk whose block reads the chunk at ``index``: ``reach`` mirrored."""
        yield from self.covering(self.box(index).grow(Halo(halo.high, halo.low)))


@cache
def inner_edge(edge: int) -> int:
    """Return the edge of Zarr's inner chunks in a shard whose edge is ``edge`` voxels.

    It is the largest divisor of ``edge`` up to 64, or ``edge`` itself if that is below 16.
    """
    best = max((d for d in range(1, min(edge, 64) + 1) if edge % d == 0), default=edge)
    return best if best >= 16 else edge
