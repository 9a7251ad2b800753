"""Sets of connected fragments, grown by one summary at a time, and when they are closed.

A union-find over names (Galler & Fisher, CACM 1964), with path halving (Tarjan & van Leeuwen,
JACM 1984). It only grows: a summary is added once and never taken out; the fold builds a new one
from the summaries when one is replaced. The smallest name of a set is its name, so that filling a
hole (joining it to its object) and being outside (joining ``OUT``) need no state of their own.

A set is pending while it may change: one count for each fragment and shared plane behind which a
chunk is missing. An object is also pending while the background beside it is undecided: one count
for each adjacent pair. It is closed when no count is left.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.core.stage import Arrays

# The name of the background that is no hole: it reaches the border or an absent voxel. Smaller
# than any other name of background, so that it becomes the name of every set it is joined to.
OUT = BACKGROUND_BIT
OUTSIDE = 0  # the node of OUT: the first one


class FragmentSets:
    """The sets of connected fragments of all summaries added so far.

    Names are numbered as they come; the number of a name is its *node*, and the node that stands
    for a set is its *root*. An object is a set with foreground, a hole one of background alone.

    Attributes
    ----------
    changed
        Ids of objects whose state may have changed. The reader empties it.
    relabelled
        Chunks with a fragment of an object that closed. The reader empties it.
    contradicted
        Whether a closed set grew, which summaries of one volume never cause. The reader resets it.
    """

    def __init__(self, *, merging: bool) -> None:
        self._merging = merging  # fill_holes "all": a hole joins the objects around it
        self._node: dict[int, int] = {}
        self._parent: list[int] = []
        self._name: list[int] = []
        # Facts of a set, kept at its root.
        self._voxels: list[int] = []
        self._pending: list[int] = []
        self._closed: list[bool] = []
        self._chunks: list[list[Index]] = []
        self._adjacent: list[list[int]] = []  # of a hole: objects; of an object: empty holes
        self._waiting: defaultdict[Index, list[int]] = defaultdict(list)  # nodes by missing chunk
        self._fragments: dict[Index, list[int]] = {}
        self._complete_holes: list[int] = []
        self._complete_objects: list[int] = []
        self.changed: set[int] = set()
        self.relabelled: set[Index] = set()
        self.contradicted = False
        self._closed[self._nodes([OUT])[0]] = True

    def add(self, chunk: Index, summary: Arrays) -> None:
        """Add the summary of a chunk that has none yet.

        Parameters
        ----------
        chunk
            Index of the chunk, ``(z, y, x)``.
        summary
            ``ids`` ``(n,)``, ``voxels`` ``(n,)``, ``touch`` ``(n,)``, ``links`` ``(m, 2)`` and
            ``pairs`` ``(k, 2)``, as `fibstream.services.refine.cut` defines them.
        """
        assert chunk not in self._fragments
        nodes = self._nodes(summary["ids"].tolist())
        self._fragments[chunk] = nodes
        for node, voxels in zip(nodes, summary["voxels"].tolist(), strict=True):
            root = self.root(node)
            if voxels:
                self._reopen(root)
            self._voxels[root] += voxels
            self._chunks[root].append(chunk)
            self.changed.add(self._name[root])
        ends = self._nodes(summary["links"].ravel().tolist())
        for one, other in zip(ends[::2], ends[1::2], strict=True):
            self._join(one, other)
        self._await_neighbours(chunk, nodes, summary["touch"])
        ends = self._nodes(summary["pairs"].ravel().tolist())
        for hole, object_ in zip(ends[::2], ends[1::2], strict=True):
            self._await_hole(hole, object_)
        for node in self._waiting.pop(chunk, ()):
            self._count_down(node)
        for node in nodes:
            self._queue_if_complete(self.root(node))
        self._close_complete()

    def root(self, node: int) -> int:
        """Return the node that stands for the set of ``node``."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def chunks(self) -> list[Index]:
        """Return the chunks whose summaries were added."""
        return list(self._fragments)

    def fragments(self, chunk: Index) -> list[int]:
        """Return the nodes of a chunk's fragments, in the order of its summary."""
        return self._fragments[chunk]

    def chunks_of(self, root: int) -> set[Index]:
        """Return the chunks with a fragment of a set."""
        return set(self._chunks[root])

    def find(self, name: int) -> int | None:
        """Return the root of the set that holds ``name``; None for an unknown name."""
        node = self._node.get(name)
        return None if node is None else self.root(node)

    def objects(self) -> list[int]:
        """Return the roots of all objects."""
        return [n for n, p in enumerate(self._parent) if n == p and self.is_object(n)]

    def is_object(self, root: int) -> bool:
        """Whether a set is an object; a hole that is filled is part of its object."""
        return self._name[root] < BACKGROUND_BIT

    def is_closed(self, root: int) -> bool:
        """Whether no summary that is still to come can change a set."""
        return self._closed[root]

    def has_last_label(self, root: int) -> bool:
        """Whether no summary that is still to come can change the label of a set."""
        if self.is_object(root) or root == OUTSIDE or not self._closed[root]:
            return self._closed[root]
        # A hole beside several objects stays empty as soon as one of them cannot join the others.
        return any(self._closed[self.root(object_)] for object_ in self._adjacent[root])

    def name(self, node: int) -> int:
        """Return the name of a node; of a root it is the smallest of its set, an object's id."""
        return self._name[node]

    def voxels(self, root: int) -> int:
        """Return the number of voxels of a set in the chunks added so far."""
        return self._voxels[root]

    def _nodes(self, names: list[int]) -> list[int]:
        """Return the nodes of ``names``, new ones for unknown names."""
        for name in names:
            if name not in self._node:
                self._node[name] = len(self._parent)
                self._parent.append(len(self._parent))
                self._name.append(name)
                self._voxels.append(0)
                self._pending.append(0)
                self._closed.append(False)
                self._chunks.append([])
                self._adjacent.append([])
        return [self._node[name] for name in names]

    def _await_neighbours(self, chunk: Index, nodes: list[int], touch: NDArray[Any]) -> None:
        """Let the fragments that reach a shared plane wait for the chunk behind it."""
        for face in range(6):
            neighbour = neighbour_at(chunk, face)
            if neighbour in self._fragments:
                continue
            for at in np.flatnonzero(touch >> face & 1).tolist():
                root = self.root(nodes[at])
                if root != OUTSIDE:
                    self._reopen(root)
                    self._pending[root] += 1
                    self._waiting[neighbour].append(nodes[at])

    def _await_hole(self, hole: int, object_: int) -> None:
        """Let an object wait until a hole beside it is filled or left empty."""
        hole, object_ = self.root(hole), self.root(object_)
        if hole != OUTSIDE:
            self._reopen(object_)
            self._adjacent[hole].append(object_)
            self._pending[object_] += 1

    def _count_down(self, node: int) -> None:
        """Let the set of a node wait for one thing less."""
        root = self.root(node)
        if root != OUTSIDE:
            self._pending[root] -= 1
            self._queue_if_complete(root)

    def _queue_if_complete(self, root: int) -> None:
        if self._pending[root] == 0 and not self._closed[root]:
            (self._complete_objects if self.is_object(root) else self._complete_holes).append(root)

    def _join(self, one: int, other: int) -> None:
        """Join two sets: that with the larger name becomes part of the other."""
        to, gone = sorted((self.root(one), self.root(other)), key=self._name.__getitem__)
        if to == gone:
            return
        if gone == OUTSIDE:
            self._contradict()  # a hole that was filled reaches the border: leave it as it is
            return
        self._reopen(to)
        if self.is_object(gone) or not self.is_object(to):
            self._reopen(gone)
        self._parent[gone] = to
        self.changed |= {self._name[to], self._name[gone]}
        chunks, self._chunks[gone] = self._chunks[gone], []
        adjacent, self._adjacent[gone] = self._adjacent[gone], []
        if to == OUTSIDE:
            for object_ in adjacent:
                self._count_down(object_)
            return
        self._voxels[to] += self._voxels[gone]
        self._pending[to] += self._pending[gone]
        self._chunks[to] = _concatenated(self._chunks[to], chunks)
        if not self.is_object(gone) and self.is_object(to):
            return  # a hole is filled: the objects beside it no longer matter
        if self.is_object(to):
            # A hole between these two, and only these, is now inside one object.
            fewer: list[int] = min(self._adjacent[to], adjacent, key=len)
            self._complete_holes += fewer
        self._adjacent[to] = _concatenated(self._adjacent[to], adjacent)

    def _reopen(self, root: int) -> None:
        """Let a set that grows after it was closed be open again.

        Summaries of one volume never cause that.
        """
        if root == OUTSIDE or not self._closed[root]:
            return
        self._contradict()
        self._closed[root] = False
        self.changed.add(self._name[root])
        if not self.is_object(root):
            for object_ in map(self.root, self._adjacent[root]):
                self._reopen(object_)
                self._pending[object_] += 1

    def _contradict(self) -> None:
        """Note that a chunk was acquired anew and its neighbours are not yet: any label may change.

        When they are, a summary is replaced, and the fold builds new sets from all summaries.
        """
        self.contradicted = True
        self.relabelled.update(self._fragments)

    def _close_complete(self) -> None:
        """Close the sets for which nothing is pending, holes first: they may change objects."""
        while self._complete_holes or self._complete_objects:
            if self._complete_holes:
                self._decide_hole(self._complete_holes.pop())
                continue
            root = self.root(self._complete_objects.pop())
            if self._pending[root] == 0 and not self._closed[root] and self.is_object(root):
                self._closed[root] = True
                self.changed.add(self._name[root])
                self.relabelled.update(self._chunks[root])
                self._adjacent[root] = []

    def _decide_hole(self, hole: int) -> None:
        """Fill a hole, or leave it empty until the objects beside it turn out to be one."""
        root = self.root(hole)
        if root == OUTSIDE or self.is_object(root) or self._pending[root]:
            return
        adjacent = self._adjacent[root]
        objects = sorted({self.root(object_) for object_ in adjacent})
        fill = self._merging or len(objects) == 1
        if not self._closed[root]:
            self._closed[root] = True
            if not fill:
                self._adjacent[root] = objects
                for object_ in objects:
                    self._adjacent[object_].append(root)
        else:
            adjacent = []  # counted down when it was decided first
        if fill:
            for object_ in objects:
                self._join(object_, root)
        for object_ in adjacent:
            self._count_down(object_)


def neighbour_at(chunk: Index, face: int) -> Index:
    """Return the chunk behind a face: z low, z high, y low, y high, x low, x high from 0."""
    z, y, x = (c + (face == 2 * a + 1) - (face == 2 * a) for a, c in enumerate(chunk))
    return z, y, x


def _concatenated(one: list[Any], other: list[Any]) -> list[Any]:
    """Return both lists as one, moving the elements of the shorter."""
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    long.extend(short)
    return long
