"""The whole volume as one block, by the same pure functions; and what the store holds.

Nothing here knows a stage: whatever the services declare is evaluated on one chunk that is the
volume, in the order of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fibstream.core.dataset import Dataset
from fibstream.core.events import Place
from fibstream.core.fold import Fold, Folds
from fibstream.core.grid import Box, Index
from fibstream.core.ports import Files
from fibstream.core.pyramid import level_box, levels
from fibstream.core.service import Service
from fibstream.core.stage import Arrays, Block, Input, Made, Patch, Stage
from fibstream.core.subject import OBJECTS, WHOLE, ObjectId, box_of
from fibstream.store.shard import Shard
from fibstream.store.store import Blob, Store

ORIGIN: Index = (0, 0, 0)  # the one chunk


def read_array(store: Store, item: Blob, box: Box) -> np.ndarray:
    handle = store.files.open(item.path)
    assert handle is not None
    shard = Shard(handle, store.layout(str(item.dtype), item.level, item.lattice))
    return shard.voxels(Box((0, 0, 0), box.shape))


@dataclass
class Whole:
    """The whole volume, computed as one block: arrays by (name, dtype), files by path.

    ``objects`` are the summaries of each object, by the name of the output.
    """

    arrays: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, dict[ObjectId, Arrays]] = field(default_factory=dict)


class _Evaluation:
    """Evaluates the stages of some services on one chunk that is the volume."""

    def __init__(self, dataset: Dataset, absent: Sequence[Box]) -> None:
        self.dataset = dataset
        self.volume = dataset.grid.volume
        self.absent = tuple(absent)
        self.made: dict[tuple[str, str], Made] = {}  # by stage and output
        self.whole = Whole()
        self._dirty: dict[int, set[Place]] = {}  # by fold: those of its outputs that it named

    def run(self, services: Sequence[Service], files: Files) -> Whole:
        pending = [(s, f) for s, f in _declared(services, self.dataset, files)]
        while pending:
            ready = [(s, f) for s, f in pending if self._known(s)]
            assert ready, f"stages wait for each other: {[s.name for s, _ in pending]}"
            for stage, fold in ready:
                self._evaluate(stage, fold)
            pending = [each for each in pending if each not in ready]
        return self.whole

    def _known(self, stage: Stage) -> bool:
        return all(
            source.name in self.whole.objects
            if source.subjects is OBJECTS
            else (source.stage, source.name) in self.made
            for source in (*stage.inputs, *([stage.found_in] if stage.found_in else []))
        )

    def _evaluate(self, stage: Stage, fold: Fold) -> None:
        if stage.subjects is OBJECTS:
            self._evaluate_objects(stage, fold)
            return
        outputs = stage.compute(self._block(stage, fold))
        for output in stage.outputs:
            made = outputs[output.name]
            self.made[stage.name, output.name] = made
            if isinstance(made, np.ndarray):
                assert made.dtype == np.dtype(output.dtype)
                if output.final and not output.first:
                    self.whole.arrays[output.name, output.dtype] = made
            elif isinstance(made, bytes):
                self.whole.files[output.name] = made
            else:
                for source in fold.inputs:
                    if (source.stage, source.name) == (stage.name, output.name):
                        fold.put(source, ORIGIN, "", made)

    def _evaluate_objects(self, stage: Stage, fold: Fold) -> None:
        for output in stage.outputs:
            self.whole.objects[output.name] = {}
        places = self._dirty.setdefault(id(fold), set())
        places.update(fold.dirty())
        for name, subject in places:
            extra = fold.extra(name, subject)
            if name != stage.name or extra is None or not isinstance(subject, ObjectId):
                continue
            core = box_of(subject, OBJECTS, self.dataset.grid, extra)
            patches = {
                source.name: self._patch(source, core.grow(source.halo).meet(self.volume))
                for source in stage.inputs
            }
            made = stage.compute(Block(subject, core, patches, extra=extra))
            for output in stage.outputs:
                summary = made[output.name]
                assert isinstance(summary, dict)
                self.whole.objects[output.name][subject] = summary

    def _patch(self, source: Input, box: Box) -> Patch:
        array = self.made[source.stage, source.name]
        assert isinstance(array, np.ndarray) and not source.level
        return Patch(array[box.slices()], box, self.absent)

    def _block(self, stage: Stage, fold: Fold) -> Block:
        patches: dict[str, Patch] = {}
        summaries: dict[str, Arrays] = {}
        for source in stage.inputs:
            if source.subjects is OBJECTS:
                continue
            made = self.made[source.stage, source.name]
            if isinstance(made, np.ndarray):
                array = levels(made, "mean", source.level + 1)[-1]
                box = level_box(self.volume, source.level)
                patches[source.name] = Patch(array, box, self.absent)
            elif not isinstance(made, bytes):
                summaries[source.name] = made
        if stage.subjects is WHOLE:
            cells: Mapping[str, Mapping[Index, Arrays]] = {
                name: {ORIGIN: summary} for name, summary in summaries.items()
            }
            return Block(
                WHOLE, self.volume, {}, cells=cells, objects=self.whole.objects,
                grid=self.dataset.grid,
            )  # fmt: skip
        extra = fold.extra(stage.name, ORIGIN) if stage.folded else b""
        assert extra is not None
        return Block(ORIGIN, self.volume, patches, summaries, extra)


def _declared(
    services: Sequence[Service], dataset: Dataset, files: Files
) -> list[tuple[Stage, Fold]]:
    """Return all stages, each with the folds of its service."""
    found: list[tuple[Stage, Fold]] = []
    for service in services:
        fold = Folds(service.folds(dataset))
        found += [(stage, fold) for stage in service.stages(dataset, files)]
    return found


def whole(
    services: Sequence[Service], files: Files, dataset: Dataset,
    landed: Mapping[Input, Mapping[Index, np.ndarray | None]],
) -> Whole:  # fmt: skip
    """Compute every stage on one chunk that is the volume, from the contents of what lands.

    A chunk that is absent is so in all arrays.
    """
    one = dataset.model_copy(update={"chunk": dataset.grid.extent})
    absent = {
        dataset.grid.box(index)
        for contents in landed.values()
        for index, voxels in contents.items()
        if voxels is None
    }
    evaluation = _Evaluation(one, sorted(absent, key=lambda box: box.start))
    for array, contents in landed.items():
        volume = np.zeros(one.grid.extent, array.dtype)
        for index, voxels in contents.items():
            if voxels is not None:
                volume[dataset.grid.box(index).slices()] = voxels
        evaluation.made[array.stage, array.name] = volume
        evaluation.whole.arrays[array.name, array.dtype] = volume
    return evaluation.run(services, files)
