"""Classes of connected pieces, grown one summary at a time, and when they are closed.

A union-find over names.  It only grows: a summary is added once and never taken out; the fold
builds a new one from the summaries when one is replaced.  The least name of a class is its name,
so that filling a hole (joining it to its object) and being outside (joining ``OUT``) need no
state of their own.

A class waits for neighbours that have not come: one count for each (piece, shared plane).  An
object also waits for the background beside it, one count for each adjacent pair: it is closed when
nothing can change it, that is when no count is left.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.core.stage import Arrays

# The name of the background that is no hole: it reaches the border or an absent voxel.  Less than
# any other name of background: the least name wins.
OUT = BACKGROUND_BIT
OUTSIDE = 0  # the node of OUT: the first one


class Classes:
    """What the summaries added so far say of their pieces; nodes are dense numbers of names.

    ``changed`` collects the ids of objects whose state may have changed, ``fixed`` the chunks
    that hold a piece of an object that closed; ``contradicted`` is set when a closed class grew,
    which summaries of one volume never ask for. Who reads them empties them.
    """

    def __init__(self, *, merging: bool) -> None:
        self._merging = merging  # fill_holes "all": a hole makes the objects around it one
        self._node: dict[int, int] = {}
        self._parent: list[int] = []
        self._name: list[int] = []
        # What follows is of a class, kept at the node that is its root.
        self._voxels: list[int] = []
        self._waits: list[int] = []
        self._closed: list[bool] = []
        self._chunks: list[list[Index]] = []
        self._beside: list[list[int]] = []  # of background: objects; of objects: undecided holes
        self._waiting: defaultdict[Index, list[int]] = defaultdict(list)  # nodes by missing chunk
        self._pieces: dict[Index, list[int]] = {}
        self._ready_holes: list[int] = []
        self._ready_objects: list[int] = []
        self.changed: set[int] = set()
        self.fixed: set[Index] = set()
        self.contradicted = False
        self._closed[self._nodes([OUT])[0]] = True

    def add(self, chunk: Index, summary: Arrays) -> None:
        """Add the summary of a chunk that has none yet."""
        assert chunk not in self._pieces
        nodes = self._nodes(summary["ids"].tolist())
        self._pieces[chunk] = nodes
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
        for hole, thing in zip(ends[::2], ends[1::2], strict=True):
            self._await_background(hole, thing)
        for node in self._waiting.pop(chunk, ()):
            self._release(node)
        for node in nodes:
            self._make_ready(self.root(node))
        self._settle()

    def root(self, node: int) -> int:
        """Return the node that stands for the class of ``node``."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def chunks(self) -> list[Index]:
        """Return the chunks whose summaries were added."""
        return list(self._pieces)

    def pieces(self, chunk: Index) -> list[int]:
        """Return the nodes of a chunk's pieces, in the order of its summary."""
        return self._pieces[chunk]

    def find(self, name: int) -> int | None:
        """Return the root of the class that holds ``name``."""
        node = self._node.get(name)
        return None if node is None else self.root(node)

    def objects(self) -> list[int]:
        """Return the roots of all objects."""
        return [n for n, p in enumerate(self._parent) if n == p and self.is_object(n)]

    def is_object(self, root: int) -> bool:
        """Whether a class is an object; a hole that is filled has joined its object."""
        return self._name[root] < BACKGROUND_BIT

    def is_closed(self, root: int) -> bool:
        """Whether nothing that is still to come can change an object."""
        return self._closed[root]

    def is_settled(self, root: int) -> bool:
        """Whether nothing that is still to come can change the label of a class."""
        if self.is_object(root) or root == OUTSIDE or not self._closed[root]:
            return self._closed[root]
        # A hole beside several objects stays empty as soon as one of them cannot join the others.
        return any(self._closed[self.root(thing)] for thing in self._beside[root])

    def name(self, node: int) -> int:
        """Return the name of a node; of a root it is the least of its class, an object's id."""
        return self._name[node]

    def voxels(self, root: int) -> int:
        """Return the voxels of a class seen so far."""
        return self._voxels[root]

    def _nodes(self, names: list[int]) -> list[int]:
        """Return the nodes of ``names``, new ones where they are not known."""
        for name in names:
            if name not in self._node:
                self._node[name] = len(self._parent)
                self._parent.append(len(self._parent))
                self._name.append(name)
                self._voxels.append(0)
                self._waits.append(0)
                self._closed.append(False)
                self._chunks.append([])
                self._beside.append([])
        return [self._node[name] for name in names]

    def _await_neighbours(self, chunk: Index, nodes: list[int], touch: NDArray[Any]) -> None:
        """Let the pieces that reach a shared plane wait for the chunk behind it."""
        for face in range(6):
            neighbour = _step(chunk, face)
            if neighbour in self._pieces:
                continue
            for at in np.flatnonzero(touch >> face & 1).tolist():
                root = self.root(nodes[at])
                if root != OUTSIDE:
                    self._reopen(root)
                    self._waits[root] += 1
                    self._waiting[neighbour].append(nodes[at])

    def _await_background(self, hole: int, thing: int) -> None:
        """Let an object wait until the background beside it is decided."""
        hole, thing = self.root(hole), self.root(thing)
        if hole != OUTSIDE:
            self._reopen(thing)
            self._beside[hole].append(thing)
            self._waits[thing] += 1

    def _release(self, node: int) -> None:
        root = self.root(node)
        if root != OUTSIDE:
            self._waits[root] -= 1
            self._make_ready(root)

    def _make_ready(self, root: int) -> None:
        if self._waits[root] == 0 and not self._closed[root]:
            (self._ready_objects if self.is_object(root) else self._ready_holes).append(root)

    def _join(self, one: int, other: int) -> None:
        """Make two classes one: that with the larger name moves into the other."""
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
        beside, self._beside[gone] = self._beside[gone], []
        if to == OUTSIDE:
            for thing in beside:
                self._release(thing)
            return
        self._voxels[to] += self._voxels[gone]
        self._waits[to] += self._waits[gone]
        self._chunks[to] = _merge(self._chunks[to], chunks)
        if not self.is_object(gone) and self.is_object(to):
            return  # a hole is filled: what is beside it is no longer of interest
        if self.is_object(to):
            # A hole between these two, and only these, is now inside one object.
            fewer: list[int] = min(self._beside[to], beside, key=len)
            self._ready_holes += fewer
        self._beside[to] = _merge(self._beside[to], beside)

    def _reopen(self, root: int) -> None:
        """Let a class that grows after it was closed be open again.

        Summaries of one volume never ask for that.
        """
        if root == OUTSIDE or not self._closed[root]:
            return
        self._contradict()
        self._closed[root] = False
        self.changed.add(self._name[root])
        if not self.is_object(root):
            for thing in map(self.root, self._beside[root]):
                self._reopen(thing)
                self._waits[thing] += 1

    def _contradict(self) -> None:
        """Note that a chunk was acquired anew and its neighbours are not yet: any label may change.

        When they are, a summary is replaced, and a new cache knows nothing of this.
        """
        self.contradicted = True
        self.fixed.update(self._pieces)

    def _settle(self) -> None:
        """Decide what is ready, holes first: they may still change objects."""
        while self._ready_holes or self._ready_objects:
            if self._ready_holes:
                self._decide(self._ready_holes.pop())
                continue
            root = self.root(self._ready_objects.pop())
            if self._waits[root] == 0 and not self._closed[root] and self.is_object(root):
                self._closed[root] = True
                self.changed.add(self._name[root])
                self.fixed.update(self._chunks[root])
                self._beside[root] = []

    def _decide(self, hole: int) -> None:
        """Fill a hole, or leave it empty until the objects beside it turn out to be one."""
        root = self.root(hole)
        if root == OUTSIDE or self.is_object(root) or self._waits[root]:
            return
        beside = self._beside[root]
        things = sorted({self.root(thing) for thing in beside})
        fill = self._merging or len(things) == 1
        if not self._closed[root]:
            self._closed[root] = True
            if not fill:
                self._beside[root] = things
                for thing in things:
                    self._beside[thing].append(root)
        else:
            beside = []  # released when it was decided first
        if fill:
            for thing in things:
                self._join(thing, root)
        for thing in beside:
            self._release(thing)


def _step(chunk: Index, face: int) -> Index:
    """Return the chunk behind a face: z low, z high, y low, y high, x low, x high."""
    z, y, x = (c + (face == 2 * a + 1) - (face == 2 * a) for a, c in enumerate(chunk))
    return z, y, x


def _merge(one: list[Any], other: list[Any]) -> list[Any]:
    """Return both lists as one, moving the shorter."""
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    long.extend(short)
    return long
