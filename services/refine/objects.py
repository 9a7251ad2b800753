"""The objects of a dataset: a pure function of its chunks' summaries, kept up to date.

The summaries are the state, the last one of a chunk wins.  Everything else is a cache: adding a
chunk extends it, replacing or removing one lets it be built anew, with the same result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fibstream.core.grid import Index
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.core.stage import Arrays
from fibstream.kernels.relabel import encode_mapping
from fibstream.kernels.union_find import Classes

from .recipe import RecipeSettings, Voxel, voxel_limits

State = Literal["open", "closed", "final"]
Kind = Literal["opened", "grown", "merged_into", "closed", "final", "withdrawn"]


@dataclass(frozen=True)
class ObjectChange:
    """What became of an object since it was last spoken of."""

    kind: Kind
    id: int
    voxels: int  # after the change; of one that is gone, what it was last said to have
    into: int | None = None


class ObjectFold:
    """All objects of one dataset and organelle.

    Objects outside the volume limits are not spoken of: an open one only once it is large enough.
    A chunk's mapping says of a closed object what is final.  Of an open one it says what the last
    snapshot knew, so that open labels are not rewritten with every chunk that lands; replacing
    and removing a chunk take a snapshot by themselves.
    """

    def __init__(self, settings: RecipeSettings, voxel_size_nm: Voxel) -> None:
        self._merging = settings.fill_holes == "all"
        self._least, self._most = voxel_limits(settings, voxel_size_nm)
        self._summaries: dict[Index, Arrays] = {}
        self._cache = Classes(merging=self._merging)
        self._stale = False
        self._sealed = False
        self._frozen: dict[int, int] = {}  # open pieces whose label is not the usual one
        self._unsettled: set[Index] = set()
        self._dirty: set[Index] = set()
        self._told: dict[int, tuple[int, State]] = {}

    def put(self, chunk: Index, summary: Arrays) -> None:
        """Let ``chunk`` say ``summary``, whatever it said before."""
        before = self._summaries.get(chunk)
        if before is not None and all(np.array_equal(before[k], summary[k]) for k in summary):
            return
        self._summaries[chunk] = summary
        self._dirty.add(chunk)
        if before is not None or self._stale:
            self._stale = True
        else:
            self._cache.add(chunk, summary)
            self._unsettled.add(chunk)
            if self._cache.contradicted:
                self._cache.contradicted = False
                self._unsettled.update(self._summaries)

    def remove(self, chunk: Index) -> None:
        """Let ``chunk`` say nothing, as if it had never come."""
        if self._summaries.pop(chunk, None) is not None:
            self._stale = True

    def seal(self) -> None:
        """From now on closed objects are final: no chunk will be acquired again."""
        self._sealed = True
        self._classes().changed.update(self._told)

    def snapshot(self) -> None:
        """Let the mappings of open pieces say what is known now."""
        self._classes()  # up to date before anything is looked at
        self._freeze({chunk: self._labels(chunk) for chunk in self._unsettled})

    def mapping(self, chunk: Index) -> bytes:
        """Return the labels of the chunk's pieces, for ``relabel``."""
        self._classes()
        return encode_mapping(
            self._summaries[chunk]["ids"], np.array(self._labels(chunk), np.uint64)
        )

    def dirty(self) -> set[Index]:
        """Return the chunks whose mapping may have changed since the last call."""
        fixed = self._classes().fixed
        dirty, self._dirty = self._dirty | fixed, set()
        fixed.clear()
        return dirty & self._summaries.keys()

    def changes(self) -> list[ObjectChange]:
        """Return what became of the objects since the last call, by id."""
        changed = self._classes().changed
        changes = [change for id_ in sorted(changed) if (change := self._change(id_))]
        changed.clear()
        return changes

    def objects(self) -> dict[int, tuple[int, State]]:
        """Return voxels and state of each object within the limits."""
        classes = self._classes()
        states = ((classes.name(root), self._state(root)) for root in classes.objects())
        return {id_: state for id_, state in states if state is not None}

    def _classes(self) -> Classes:
        """Return the cache, built anew when a summary was replaced or removed."""
        if self._stale:
            self._stale = False
            self._dirty |= self._cache.fixed  # not yet told, and the comparison starts after it
            before = {chunk: self._labels(chunk) for chunk in self._cache.chunks()}
            self._cache = Classes(merging=self._merging)
            for chunk in sorted(self._summaries):
                self._cache.add(chunk, self._summaries[chunk])
            self._cache.fixed.clear()  # comparing with before says it more tightly
            self._cache.changed.update(self._told)
            self._unsettled = set(self._summaries)
            self._freeze(before)
        return self._cache

    def _freeze(self, before: Mapping[Index, list[int]]) -> None:
        """Take a snapshot; the chunks whose labels are not those of ``before`` become dirty."""
        self._frozen = {}
        for chunk in tuple(self._unsettled):
            roots = [(node, self._cache.root(node)) for node in self._cache.pieces(chunk)]
            if all(self._cache.is_settled(root) for _, root in roots):
                self._unsettled.remove(chunk)
            for node, root in roots:
                if self._cache.is_object(root) and root != node:
                    self._frozen[self._cache.name(node)] = self._cache.name(root)
        self._dirty |= {
            chunk
            for chunk, labels in before.items()
            if chunk in self._summaries and self._labels(chunk) != labels
        }

    def _labels(self, chunk: Index) -> list[int]:
        return [self._label(node) for node in self._cache.pieces(chunk)]

    def _label(self, node: int) -> int:
        """Return the label of a piece: final, as frozen, or the usual one of a newer piece."""
        root = self._cache.root(node)
        if not self._cache.is_object(root):
            return 0
        if self._cache.is_closed(root):
            return self._cache.name(root) if self._kept(root) else 0
        name = self._cache.name(node)
        return self._frozen.get(name, name if name < BACKGROUND_BIT else 0)

    def _kept(self, root: int) -> bool:
        return self._least <= self._cache.voxels(root) <= self._most

    def _state(self, root: int) -> tuple[int, State] | None:
        """Return voxels and state of an object, nothing when it is not to be spoken of."""
        if not (self._cache.is_object(root) and self._kept(root)):
            return None
        if not self._cache.is_closed(root):
            return self._cache.voxels(root), "open"
        return self._cache.voxels(root), "final" if self._sealed else "closed"

    def _change(self, id_: int) -> ObjectChange | None:
        """Return how an object differs from what was last said of it, and remember that."""
        root = self._cache.find(id_)
        target = None if root is None else self._cache.name(root)
        state = None if root is None else self._state(root)
        before, now = self._told.pop(id_, None), state if target == id_ else None
        if now is not None:
            self._told[id_] = now
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
