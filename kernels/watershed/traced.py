"""What became of components: the fragment and the object of every basin of a dataset.

Nothing is decided here: components are those of `kernels.union_find`, fragments and objects those
of `agglomerate`, as `split.SplitFold` has them. Components are taken a few at a time, so that the
saddle graphs of a dataset are never held together.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.core.stage import Arrays

from ..union_find import FragmentSets
from .rule import Agglomeration
from .split import roots_in
from .summary import components_in

if TYPE_CHECKING:
    from .saddles import SaddleGraph

MOST_BYTES = 1 << 28  # of saddle graphs that are held together; those of one component always are
Level = Literal["component", "fragment", "object"]
LEVELS: tuple[Level, ...] = get_args(Level)
Names = NDArray[np.uint64]
Roots = dict[Index, NDArray[np.int64]]
Read = Callable[[Index], Arrays]


class Trace(NamedTuple):
    """What each basin is part of.

    Attributes
    ----------
    names
        By chunk, uint64 ``(3, n)``: component, fragment and object of each basin, and of what may
        be a hole, in the order of the summary; each is named by its least voxel, 0 is none.
    voxels
        Of each component, each fragment and each object, by name.
    """

    names: dict[Index, Names]
    voxels: tuple[Counter[int], Counter[int], Counter[int]]


def trace(
    chunks: Sequence[Index], read: Read, rule: Agglomeration, most_bytes: int = MOST_BYTES
) -> Trace:
    """Return what each basin of some chunks is part of.

    A fragment is what agglomeration never takes apart: a basin with those that are less deep than
    ``rule.least_dynamics``. An open component is one fragment and one object.

    Parameters
    ----------
    chunks
        Those that have a summary.
    read
        Returns the summary of a chunk, as `summary.packed` makes it, the same at each call.
    rule
        What decides which basins become one object.
    most_bytes
        Of saddle graphs that are held at a time; beside them, some 40 bytes of each basin.
    """
    sets, parts = FragmentSets(merging=rule.merging), dict[Index, NDArray[np.uint32]]()
    bytes_each = dict[Index, float]()  # basin
    for chunk in chunks:
        summary = read(chunk)
        sets.add(chunk, components_in(summary))
        parts[chunk] = summary["part"]
        bytes_each[chunk] = sum(a.nbytes for a in summary.values()) / max(summary["part"].size, 1)
    roots = {chunk: roots_in(sets, chunk, part) for chunk, part in parts.items()}
    found = _as_components(sets, roots)
    weights = Counter[int]()
    for chunk, each in roots.items():
        for root, count in zip(*np.unique(each, return_counts=True), strict=True):
            if sets.is_object(int(root)) and sets.is_closed(int(root)):
                weights[int(root)] += round(int(count) * bytes_each[chunk])
    for batch in _batches(weights, most_bytes):
        _divide(batch, roots, read, rule, found)
    return found


def _as_components(sets: FragmentSets, roots: Roots) -> Trace:
    """Return the trace of components that nothing divides."""
    voxels = Counter[int]()
    for root in {root for each in roots.values() for root in each.tolist()}:
        if sets.is_object(root):
            voxels[sets.name(root)] = sets.voxels(root)
    names = {}
    for chunk, each in roots.items():
        own = np.array([sets.name(root) for root in each.tolist()], np.uint64)
        own[own >= BACKGROUND_BIT] = 0  # a hole between components, or beyond them
        names[chunk] = np.stack([own] * len(LEVELS))
    return Trace(names, (voxels, voxels.copy(), voxels.copy()))


def _batches(weights: Mapping[int, int], most: int) -> Iterator[list[int]]:
    """Yield the components in order, as many at a time as weigh at most ``most``, at least one."""
    batch: list[int] = []
    held = 0
    for root in sorted(weights):
        if batch and held + weights[root] > most:
            yield batch
            batch, held = [], 0
        batch.append(root)
        held += weights[root]
    if batch:
        yield batch


def _divide(
    batch: Sequence[int], roots: Roots, read: Read, rule: Agglomeration, found: Trace
) -> None:
    """Put the fragments and objects of closed components into a trace.

    Components that lack a basin stay one: a chunk's summary was replaced, its neighbour's not yet.
    """
    from .agglomerate import agglomerate
    from .closed import fill_holes, unite_closed

    held = {chunk: np.isin(each, batch) for chunk, each in roots.items()}
    held = {chunk: kept for chunk, kept in held.items() if kept.any()}
    closed = unite_closed(held, read)
    if closed is None:
        for root in batch if len(batch) > 1 else ():
            _divide([root], roots, read, rule, found)
        return
    graph = closed.graph
    fragments = fill_holes(closed, _fragments(graph, rule), merging=False)
    objects = fill_holes(closed, agglomerate(graph, rule), merging=rule.merging)
    for level, (of_basin, of_piece) in (1, fragments), (2, objects):
        for chunk, kept in held.items():
            for name in np.unique(found.names[chunk][0][kept]).tolist():
                found.voxels[level].pop(name, None)
            found.names[chunk][level, kept] = closed.named(chunk, of_basin, of_piece)
        for ids, voxels in (of_basin, graph.voxels), (of_piece, closed.pieces.voxels):
            for name, each in zip(ids.tolist(), voxels.tolist(), strict=True):
                found.voxels[level][name] += each
        del found.voxels[level][0]


def _fragments(graph: "SaddleGraph", rule: Agglomeration) -> Names:
    """Return the fragment of each basin, uint64 ``(n,)``: its least voxel."""
    from .dynamics import mark

    _, group = np.unique(mark(graph, rule.least_dynamics), return_inverse=True)
    first = np.full(graph.basin.size, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, group, graph.first)
    return first[group]
