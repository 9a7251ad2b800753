"""The objects of a dataset: a pure function of its chunks' summaries, kept up to date.

The summaries are the state, the last one of a chunk wins. The sets of fragments are a cache: adding
a chunk extends it, replacing or removing one lets it be built anew, with the same result.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fibstream.core.grid import Index
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.core.stage import Arrays

from .mapping import encode_mapping
from .union_find import FragmentSets

State = Literal["open", "closed", "final"]
Kind = Literal["opened", "grown", "merged_into", "closed", "final", "withdrawn"]


@dataclass(frozen=True)
class ObjectChange:
    """How an object differs from what was last reported of it."""

    kind: Kind
    id: int
    voxels: int  # after the change; of one that is gone, those last reported
    into: int | None = None


class ObjectFold:
    """All objects of one dataset and organelle, or all contacts of one pair of organelles.

    Objects outside the volume limits are not reported: an open one only once it is large enough.
    Nor are those that are not chosen.
    In a chunk's mapping a closed object has its last id; an open one has that of the last snapshot,
    so that open labels are not rewritten with every chunk that lands. Replacing and removing a
    chunk take a snapshot by themselves.

    Parameters
    ----------
    merging
        Whether a hole joins all objects around it.
    least, most
        The limits of an object in voxels, both inclusive.
    only, without
        Ids of the objects that are kept, all where there are none, and of those that are not.
        They are ids as they are in the end: an open object has the choice of the id it has now.
    """

    def __init__(
        self, *, merging: bool = False, least: int = 1, most: float = math.inf,
        only: frozenset[int] = frozenset(), without: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        self._merging = merging
        self._least, self._most = least, most
        self._only, self._without = only, without
        self._summaries: dict[Index, Arrays] = {}
        self._sets = FragmentSets(merging=self._merging)
        self._stale = False
        self._sealed = False
        self._snapshot: dict[int, int] = {}  # labels of open fragments that are not their own name
        self._open: set[Index] = set()  # chunks with labels that may still change
        self._dirty: set[Index] = set()
        self._reported: dict[int, tuple[int, State]] = {}

    def put(self, chunk: Index, summary: Arrays) -> None:
        """Take the summary of a chunk; it replaces an earlier one of the same chunk."""
        before = self._summaries.get(chunk)
        if before is not None and all(np.array_equal(before[k], summary[k]) for k in summary):
            return
        self._summaries[chunk] = summary
        self._dirty.add(chunk)
        if before is not None or self._stale:
            self._stale = True
        else:
            self._sets.add(chunk, summary)
            self._open.add(chunk)
            if self._sets.contradicted:
                self._sets.contradicted = False
                self._open.update(self._summaries)

    def remove(self, chunk: Index) -> None:
        """Forget the summary of a chunk, as if it had never come."""
        if self._summaries.pop(chunk, None) is not None:
            self._stale = True

    def seal(self) -> None:
        """Make closed objects final: no chunk will be acquired again."""
        self._sealed = True
        self._current().changed.update(self._reported)

    def snapshot(self) -> None:
        """Let the mappings of open fragments follow what is known now."""
        self._current()  # before ``_open`` is read
        self._take_snapshot({chunk: self._labels(chunk) for chunk in self._open})

    def mapping(self, chunk: Index) -> bytes:
        """Return the labels of a chunk's fragments, encoded for ``relabel``.

        A chunk without a summary is a ``KeyError``.
        """
        self._current()
        return encode_mapping(
            self._summaries[chunk]["ids"], np.array(self._labels(chunk), np.uint64)
        )

    def dirty(self) -> set[Index]:
        """Return the chunks whose mapping may have changed since the last call."""
        relabelled = self._current().relabelled
        dirty, self._dirty = self._dirty | relabelled, set()
        relabelled.clear()
        return dirty & self._summaries.keys()

    def changes(self) -> list[ObjectChange]:
        """Return the changes of objects since the last call, by id."""
        changed = self._current().changed
        changes = [change for id_ in sorted(changed) if (change := self._change(id_))]
        changed.clear()
        return changes

    def objects(self) -> dict[int, tuple[int, State]]:
        """Return voxels and state of each object within the limits."""
        sets = self._current()
        states = ((sets.name(root), self._state(root)) for root in sets.objects())
        return {id_: state for id_, state in states if state is not None}

    def _current(self) -> FragmentSets:
        """Return the sets of fragments, built anew when a summary was replaced or removed."""
        if self._stale:
            self._stale = False
            self._dirty |= self._sets.relabelled  # not yet reported
            before = {chunk: self._labels(chunk) for chunk in self._sets.chunks()}
            self._sets = FragmentSets(merging=self._merging)
            for chunk in sorted(self._summaries):
                self._sets.add(chunk, self._summaries[chunk])
            self._sets.relabelled.clear()  # the comparison with before finds fewer
            self._sets.changed.update(self._reported)
            self._open = set(self._summaries)
            self._take_snapshot(before)
        return self._sets

    def _take_snapshot(self, before: Mapping[Index, list[int]]) -> None:
        """Take a snapshot; the chunks whose labels are not those of ``before`` become dirty."""
        self._snapshot = {}
        for chunk in tuple(self._open):
            roots = [(node, self._sets.root(node)) for node in self._sets.fragments(chunk)]
            if all(self._sets.has_last_label(root) for _, root in roots):
                self._open.remove(chunk)
            for node, root in roots:
                if self._sets.is_object(root) and root != node:
                    self._snapshot[self._sets.name(node)] = self._sets.name(root)
        self._dirty |= {
            chunk
            for chunk, labels in before.items()
            if chunk in self._summaries and self._labels(chunk) != labels
        }

    def _labels(self, chunk: Index) -> list[int]:
        return [self._label(node) for node in self._sets.fragments(chunk)]

    def _label(self, node: int) -> int:
        """Return the label of a fragment: the last one, that of the snapshot, or its own name."""
        root = self._sets.root(node)
        if not self._sets.is_object(root):
            return 0
        if self._sets.is_closed(root):
            return self._sets.name(root) if self._kept(root) else 0
        name = self._sets.name(node)
        return self._snapshot.get(name, name if name < BACKGROUND_BIT else 0)

    def _kept(self, root: int) -> bool:
        id_ = self._sets.name(root)
        chosen = id_ not in self._without and (not self._only or id_ in self._only)
        return chosen and self._least <= self._sets.voxels(root) <= self._most

    def _state(self, root: int) -> tuple[int, State] | None:
        """Return voxels and state of an object; None when it is not reported."""
        if not (self._sets.is_object(root) and self._kept(root)):
            return None
        if not self._sets.is_closed(root):
            return self._sets.voxels(root), "open"
        return self._sets.voxels(root), "final" if self._sealed else "closed"

    def _change(self, id_: int) -> ObjectChange | None:
        """Return how an object differs from what was last reported of it, and note that."""
        root = self._sets.find(id_)
        target = None if root is None else self._sets.name(root)
        state = None if root is None else self._state(root)
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
