"""Components that are split while they are open, since they are in many chunks.

What `frozen` has settled of each, and by which id what is left of it goes: a component is named by
its first voxel, and so is the object that has it, once that is done. Importing it brings no
compiler.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays

from ..union_find import OUTSIDE, FragmentSets
from .rule import Agglomeration

if TYPE_CHECKING:
    from .frozen import Done, Settled

Rows = NDArray[np.bool_]


class Giants:
    """What is settled of the open components of one dataset and organelle.

    Components are known by the roots of their sets.
    """

    def __init__(self, sets: FragmentSets, rule: Agglomeration, grid: Grid) -> None:
        self._sets, self._rule, self._grid = sets, rule, grid
        self._settled: list[tuple[int, Settled]] = []  # by a node of the component
        self._done: list[tuple[int, int]] = []  # voxels of objects that are done, likewise
        self._left: dict[int, int] = {}  # ids of what is left, by the name of the component
        self._basins: dict[Index, int] = {}  # of each chunk: rows that are no pieces of background
        self._free: dict[Index, int] = {}  # of these, how many are not settled
        # Rows (piece of background, end of descent beside it) that are settled with no component:
        # a piece is in the chunk of the earlier voxel, which need not have a basin of it.
        self._beside = np.empty((0, 2), np.uint64)
        self._unread: list[Index] = []  # chunks whose rows are not among them yet

    def add(self, chunk: Index, summary: Arrays) -> None:
        """Take note of a chunk that is known now."""
        self._basins[chunk] = self._free[chunk] = summary["relief"].size
        if len(summary.get("beside", ())):
            self._unread.append(chunk)

    def settle(
        self, root: int, held: Callable[[Collection[Index]], Mapping[Index, Rows]],
        read: Callable[[Index], Arrays],
    ) -> "Done | None":  # fmt: skip
        """Settle what can be of a component; return the objects that are done, if it has basins.

        Parameters
        ----------
        root
            The component.
        held
            Returns which rows of some chunks are of the component and of no object, by chunk.
        read
            Returns the summary of a chunk.
        """
        from .frozen import of_chunk, settle

        parts = self.parts({root})
        rows = [part.rows for part in parts]
        waiting = sorted(chunk for chunk in self._sets.chunks_of(root) if self._free[chunk])
        for chunk, kept in held(waiting).items():
            kept[self._basins[chunk] :] = False
            for own in (each[chunk][0] for each in rows if chunk in each):
                kept[: own.size] &= ~own
            if kept.any():
                self._free[chunk] -= int(kept.sum())
                parts.append(of_chunk(chunk, kept, read(chunk)))
        if not any(part.graph.basin.size for part in parts):
            return None
        parts = [part._replace(beside=self._hollow(part.beside)) for part in parts]
        fresh = [read(chunk)["beside"] for chunk in self._unread]
        self._unread = []
        self._beside = self._hollow(np.concatenate([self._beside, *fresh]))
        left, done, own = settle(
            parts, self._grid, self._basins.keys(), self._rule, self._beside
        )  # fmt: skip
        self._beside = self._beside[~own]
        self.drop({root})
        self._settled.append((root, left))
        self._done.append((root, sum(done.voxels.values())))
        name = self._sets.name(root)
        if left.graph.first.size and (name in self._left or name in done.voxels):
            self._left[name] = int(left.graph.first.min())
        return done

    def _hollow(self, beside: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the rows of pieces of background that may still be holes."""
        pieces, at = np.unique(beside[:, 0], return_inverse=True)
        holes = [self._sets.find(name) != OUTSIDE for name in pieces.tolist()]
        return beside[np.array(holes, np.bool_)[at]]

    def parts(self, roots: Collection[int]) -> "list[Settled]":
        """Return what is settled of some components."""
        return [part for node, part in self._settled if self._sets.root(node) in roots]

    def drop(self, roots: Collection[int]) -> None:
        """Forget what is settled of some components."""
        self._settled = [each for each in self._settled if self._sets.root(each[0]) not in roots]

    def left(self, name: int) -> int:
        """Return the id that what is left of a component goes by, given the component's name."""
        return self._left.get(name, name)

    def component(self, id_: int) -> int:
        """Return a name of the component whose rest goes by an id."""
        return next((name for name, left in self._left.items() if left == id_), id_)

    def voxels(self, root: int) -> int:
        """Return the voxels of what is left of a component."""
        done = sum(voxels for node, voxels in self._done if self._sets.root(node) == root)
        return self._sets.voxels(root) - done
