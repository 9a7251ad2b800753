"""Objects that closed components of foreground are split into: basins, agglomerated.

A pure function of the summaries of chunks, kept up to date as `kernels.objects` keeps components.
Agglomeration of a component reads no other one, so each is split once it is closed; an open one is
one object, but of a giant what cannot change any more is split off with every snapshot (`frozen`).
Importing it brings no compiler.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fibstream.core.arrays import decode_arrays, encode_arrays
from fibstream.core.grid import Grid, Index
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.core.stage import Arrays

from ..mapping import encode_mapping
from ..objects import ObjectChange, State
from ..union_find import FragmentSets
from .giants import Giants, Rows
from .rule import Agglomeration
from .summary import components_in

if TYPE_CHECKING:
    from .frozen import Done

Names = NDArray[np.uint64]
GIANT = 64  # chunks of a component that is not left whole while it is open
EMPTY = BACKGROUND_BIT  # stands for the object of a hole that is not filled


class SplitFold:
    """All objects of one dataset and organelle whose components are split.

    Objects outside the limits are not reported, nor are those that are not chosen. An open
    component has the label of the last snapshot; see `kernels.objects.ObjectFold`.

    Parameters
    ----------
    rule
        What decides which basins become one object.
    grid
        The chunks of the volume; while its extent is open, none is the last.
    least, most
        The limits of an object in voxels, both inclusive.
    only, without
        Ids of the objects that are kept, all where there are none, and of those that are not.
    giant
        Chunks from which on a component is split while it is open; `GIANT` by default.
    """

    def __init__(
        self, rule: Agglomeration, grid: Grid, *, least: int = 1, most: float = math.inf,
        only: frozenset[int] = frozenset(), without: frozenset[int] = frozenset(),
        giant: int | None = None,
    ) -> None:  # fmt: skip
        self._rule = rule
        self._grid, self._giant = grid, GIANT if giant is None else giant
        self._least, self._most = least, most
        self._only, self._without = only, without
        self._summaries: dict[Index, bytes] = {}  # as stored: a fifth of their arrays
        self._sealed = self._stale = False
        self._snapshot: dict[int, int] = {}  # labels of open components that are not their own name
        self._dirty: set[Index] = set()
        self._changed: set[int] = set()
        self._reported: dict[int, tuple[int, State]] = {}
        self._begin()

    def _begin(self) -> None:
        self._sets = FragmentSets(merging=self._rule.merging)
        self._giants = Giants(self._sets, self._rule, self._grid)
        self._unsettled: set[Index] = set()  # chunks with labels that may still change
        self._part: dict[Index, NDArray[np.uint32]] = {}  # of each basin, as it was added
        self._object: dict[Index, Names] = {}  # of each row of a chunk; 0: its set is open
        self._voxels: dict[int, int] = {}  # of each object of a closed component
        self._split: set[int] = set()  # components

    def put(self, chunk: Index, summary: Arrays) -> None:
        """Take the summary of a chunk; it replaces an earlier one of the same chunk."""
        before, packed = self._summaries.get(chunk), encode_arrays(summary)
        if before == packed:
            return
        self._summaries[chunk] = packed
        self._dirty.add(chunk)
        if before is not None or self._stale:
            self._stale = True
            return
        self._add(chunk, summary)
        if self._sets.contradicted:  # its neighbours will come anew, too
            self._stale = True
        else:
            self._split_closed()

    def seal(self) -> None:
        """Make closed objects final: no chunk will be acquired again."""
        self._sealed = True
        self._current()
        self._changed.update(self._reported)

    def snapshot(self) -> None:
        """Let the labels of open components follow what is known now."""
        self._current()
        before = {chunk: self._labels(chunk) for chunk in self._unsettled}
        self._settle_giants()
        self._take_snapshot(before)

    def mapping(self, chunk: Index) -> bytes:
        """Return the labels of a chunk's basins, encoded for ``relabel``.

        A chunk without a summary is a ``KeyError``.
        """
        self._current()
        return encode_mapping(self._read(chunk)["ids"], self._labels(chunk))

    def dirty(self) -> set[Index]:
        """Return the chunks whose mapping may have changed since the last call."""
        self._current()
        dirty, self._dirty = self._dirty, set()
        return dirty

    def changes(self) -> list[ObjectChange]:
        """Return the changes of objects since the last call, by id."""
        self._current()
        changed, self._changed = self._changed, set()
        return [change for id_ in sorted(changed) if (change := self._change(id_))]

    def objects(self) -> dict[int, tuple[int, State]]:
        """Return voxels and state of each object within the limits."""
        self._current()
        open_ = {self._giants.left(self._sets.name(root)) for root in self._sets.objects()}
        states = ((name, self._state(name)[0]) for name in open_ | self._voxels.keys())
        return {name: state for name, state in states if state is not None}

    def _current(self) -> None:
        """Build everything anew when a summary was replaced."""
        if not self._stale:
            return
        before = {chunk: self._labels(chunk) for chunk in self._object}
        self._stale = False
        self._changed |= self._reported.keys()
        self._begin()
        for chunk in sorted(self._summaries):
            self._add(chunk, self._read(chunk))
        self._sets.contradicted = False
        self._split_closed()
        self._settle_giants()
        self._take_snapshot(before)

    def _read(self, chunk: Index) -> Arrays:
        return decode_arrays(self._summaries[chunk])

    def _add(self, chunk: Index, summary: Arrays) -> None:
        self._sets.add(chunk, components_in(summary))
        self._part[chunk] = summary["part"]
        self._giants.add(chunk, summary)
        self._object[chunk] = np.zeros(summary["ids"].size, np.uint64)
        self._unsettled.add(chunk)

    def _split_closed(self) -> None:
        """Split the components that have closed since the last call."""
        changed, self._sets.changed = self._sets.changed, set()
        self._changed |= changed | {self._giants.left(id_) for id_ in changed}
        chunks, self._sets.relabelled = self._sets.relabelled, set()
        found = {root for id_ in changed if (root := self._sets.find(id_)) is not None}
        roots = {r for r in found if self._sets.is_object(r) and self._sets.is_closed(r)}
        fresh = {root for root in roots if self._sets.name(root) not in self._split}
        if fresh:
            self._agglomerate(sorted(fresh), sorted(chunks & self._object.keys()))

    def _agglomerate(self, roots: Sequence[int], chunks: Sequence[Index]) -> None:
        """Split components; one that lacks a basin stays open."""
        from .agglomerate import agglomerate
        from .closed import fill_holes, unite_closed

        held = self._held(roots, chunks)
        if not held:
            return
        closed = unite_closed(held, self._read, self._giants.parts(roots))
        if closed is None:
            for root in roots if len(roots) > 1 else ():
                self._agglomerate([root], chunks)
            return
        self._split |= {self._sets.name(root) for root in roots}
        self._giants.drop(roots)
        objects = agglomerate(closed.graph, self._rule, closed.forest)
        objects, filled = fill_holes(closed, objects, merging=self._rule.merging)
        for ids, voxels in (objects, closed.graph.voxels), (filled, closed.pieces.voxels):
            for name, each in zip(ids.tolist(), voxels.tolist(), strict=True):
                if name:
                    self._voxels[name] = self._voxels.get(name, 0) + each
        self._changed.update(objects.tolist())
        filled[filled == 0] = EMPTY
        for chunk, kept in held.items():
            self._object[chunk][kept] = closed.named(chunk, objects, filled)
        self._dirty |= held.keys()

    def _held(self, roots: Sequence[int], chunks: Iterable[Index]) -> dict[Index, Rows]:
        """Return by chunk the rows of some components that have no object yet."""
        held = {
            chunk: np.isin(roots_in(self._sets, chunk, self._part[chunk]), roots)
            & (self._object[chunk] == 0)
            for chunk in chunks
        }
        return {chunk: kept for chunk, kept in held.items() if kept.any()}

    def _settle_giants(self) -> None:
        """Split off the objects of large open components that are done."""
        for root in self._sets.objects():
            large = len(self._sets.chunks_of(root)) >= self._giant
            if large and not self._sets.is_closed(root):
                self._changed.add(self._giants.left(self._sets.name(root)))
                done = self._giants.settle(root, partial(self._held, [root]), self._read)
                if done is not None:
                    self._take_done(root, done)

    def _take_done(self, root: int, done: "Done") -> None:
        name = self._sets.name(root)
        self._voxels |= done.voxels
        self._changed.update(done.voxels, [name, self._giants.left(name)])
        for chunk, (own, ids) in done.rows.items():
            self._object[chunk][: own.size][own] = ids
        self._dirty |= done.rows.keys()

    def _labels(self, chunk: Index) -> Names:
        """Return the label of each row of a chunk: of its object, or of its open component."""
        names = [self._sets.name(node) for node in self._sets.fragments(chunk)]
        known = [self._snapshot.get(n, n if n < BACKGROUND_BIT else 0) for n in names]
        open_ = np.array([self._giants.left(n) for n in known], np.uint64)
        found = self._object[chunk]
        distinct, at = np.unique(found, return_inverse=True)
        kept = np.array([self._kept(n, self._voxels.get(n, 0)) for n in distinct.tolist()], bool)
        labels = np.where(kept, distinct, np.uint64(0))[at]
        return np.where(found == 0, open_[self._part[chunk]], labels)

    def _take_snapshot(self, before: Mapping[Index, Names]) -> None:
        """Take a snapshot; the chunks whose labels are not those of ``before`` become dirty."""
        self._snapshot = {}
        for chunk in tuple(self._unsettled):
            roots = [(node, self._sets.root(node)) for node in self._sets.fragments(chunk)]
            if self._is_settled(chunk, [root for _, root in roots]):
                self._unsettled.remove(chunk)
            for node, root in roots:
                if self._sets.is_object(root) and root != node:
                    self._snapshot[self._sets.name(node)] = self._sets.name(root)
        for chunk, labels in before.items():
            if not np.array_equal(labels, self._labels(chunk)):
                self._dirty.add(chunk)

    def _is_settled(self, chunk: Index, roots: Sequence[int]) -> bool:
        """Whether no summary that is still to come can change a label of a chunk."""
        last = np.array([self._sets.has_last_label(root) for root in roots], np.bool_)
        split = np.array([not self._sets.is_object(root) for root in roots], np.bool_)
        done = (self._object[chunk] != 0) | split[self._part[chunk]]
        return bool(last.all() and done.all())

    def _kept(self, id_: int, voxels: int) -> bool:
        chosen = id_ not in self._without and (not self._only or id_ in self._only)
        return chosen and self._least <= voxels <= self._most

    def _state(self, id_: int) -> tuple[tuple[int, State] | None, int | None]:
        """Return voxels and state of an object if it is reported, and the id that it has now."""
        if id_ in self._voxels:
            state: State = "final" if self._sealed else "closed"
            voxels = self._voxels[id_]
            return ((voxels, state) if self._kept(id_, voxels) else None), id_
        root = self._sets.find(self._giants.component(id_))
        if root is None or not self._sets.is_object(root) or self._sets.name(root) in self._split:
            return None, None
        name, voxels = self._giants.left(self._sets.name(root)), self._giants.voxels(root)
        return ((voxels, "open") if voxels and self._kept(name, voxels) else None), name

    def _change(self, id_: int) -> ObjectChange | None:
        """Return how an object differs from what was last reported of it, and note that."""
        state, target = self._state(id_)
        before, now = self._reported.pop(id_, None), state if target == id_ else None
        if now is not None:
            self._reported[id_] = now
        if now == before:
            return None
        if now is None:
            assert before is not None
            if state is None:
                return ObjectChange("withdrawn", id_, before[0])
            return ObjectChange("merged_into", id_, before[0], target)
        if now[1] != "open":
            return ObjectChange(now[1], id_, now[0])
        return ObjectChange("grown" if before and before[1] == "open" else "opened", id_, now[0])


def roots_in(sets: FragmentSets, chunk: Index, part: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the root of the set that each row of a chunk is of; ``part`` as summarised."""
    return np.array([sets.root(node) for node in sets.fragments(chunk)], np.int64)[part]
