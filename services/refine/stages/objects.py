"""``objects/<organelle>``: the fold of refine makes objects of the fragments of all chunks."""

from collections.abc import Iterable, Iterator

from fibstream.core.dataset import Dataset
from fibstream.core.events import ObjectChanged, Place
from fibstream.core.fold import NoFold
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Input
from fibstream.services.refine.objects import ObjectFold
from fibstream.services.refine.recipe import RecipeSettings

EPOCH = 64  # chunks: landings between two snapshots of open objects


class ObjectsFold(NoFold):
    """The object fold of every organelle of a dataset, as the planner hosts it."""

    def __init__(self, dataset: Dataset) -> None:
        self._folds = {
            o.recipe: ObjectFold(
                RecipeSettings.model_validate(dict(o.settings)), dataset.voxel_size_nm
            )
            for o in dataset.organelles
        }
        self._epoch = 0
        self.inputs = tuple(
            Input(f"fragments/{name}", f"summaries/fragments/{name}") for name in self._folds
        )

    def put(self, source: Input, index: Index, content: str, summary: Arrays) -> None:  # noqa: ARG002
        """Take the summary of a chunk's fragments."""
        self._folds[source.stage.partition("/")[2]].put(index, summary)

    def landed(self, count: int) -> None:
        """Take a snapshot of open objects each time an epoch of chunks has landed."""
        if count // EPOCH > self._epoch:
            self._epoch = count // EPOCH
            for fold in self._folds.values():
                fold.snapshot()

    def seal(self, grid: Grid) -> None:  # noqa: ARG002
        """Make closed objects final: the extent is known."""
        for fold in self._folds.values():
            fold.seal()

    def extra(self, stage: str, index: Index) -> bytes | None:
        """Return the mapping of one chunk; None while its summary is not known."""
        try:
            return self._folds[stage.partition("/")[2]].mapping(index)
        except KeyError:
            return None

    def dirty(self) -> Iterable[Place]:
        """Return the chunks of labels whose mapping may have changed."""
        return [(f"labels/{n}", i) for n, fold in self._folds.items() for i in fold.dirty()]

    def changes(self) -> Iterator[ObjectChanged]:
        """Yield what happened to objects."""
        for name, fold in self._folds.items():
            for change in fold.changes():
                yield ObjectChanged(name, change.kind, change.id, change.voxels, change.into)
