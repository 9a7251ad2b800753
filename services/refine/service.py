"""refine: predictions become fragments, fragments become objects, objects become labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fibstream.dataset import Dataset, Organelle
from fibstream.events import ObjectChanged
from fibstream.fold import NoFold
from fibstream.frontier import Place
from fibstream.grid import Grid, Index
from fibstream.loops import Service
from fibstream.ports import Files
from fibstream.stage import Arrays, Block, Input, Output, Stage

from .fold import ObjectFold
from .fragments import fragments, halo
from .recipe import Settings
from .relabel import relabel

EPOCH = 64  # chunks: labels of open objects follow the fold once in so many landings


def fragment_stage(dataset: Dataset, organelle: Organelle) -> Stage:
    """Return the stage that cuts a prediction into fragments."""
    name, settings = organelle.recipe, Settings.model_validate(dict(organelle.settings))
    voxel = dataset.voxel_size_nm
    array = f"predictions/{organelle.source}"
    # Size limits hold for whole objects: they are the fold's, and change no fragment.
    cut = settings.model_dump(exclude={"min_volume_nm3", "max_volume_nm3", "min_rule"})

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        ids, summary = fragments(block.patches[array], block.core, settings, voxel)
        return {f"fragments/{name}": ids, f"summaries/fragments/{name}": summary}

    return Stage(
        f"fragments/{name}", 1,
        (Input(_maker(dataset, organelle), array, "uint8", halo(settings, voxel)),),
        (Output(f"fragments/{name}", "uint64"), Output(f"summaries/fragments/{name}")),
        {"settings": cut, "voxel_size_nm": list(voxel)},
        compute,
    )  # fmt: skip


def _maker(dataset: Dataset, organelle: Organelle) -> str:
    """Return the stage that predicts an organelle's class."""
    model = next(m.name for m in dataset.models if organelle.source in m.classes)
    return f"prediction/{model}"


def label_stage(organelle: Organelle) -> Stage:
    """Return the stage that gives fragments the ids of their objects."""
    name = organelle.recipe

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        ids = block.summaries[f"summaries/fragments/{name}"]["ids"]
        found = relabel(block.patches[f"fragments/{name}"].array, ids, block.extra)
        return {f"labels/{name}": found}

    inputs = (
        Input(f"fragments/{name}", f"fragments/{name}", "uint64"),
        Input(f"fragments/{name}", f"summaries/fragments/{name}"),
    )
    output = Output(f"labels/{name}", "uint64", "mode")
    return Stage(f"labels/{name}", 1, inputs, (output,), {}, compute, folded=True)


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    """Return two stages for each organelle."""
    return [
        stage for o in dataset.organelles for stage in (fragment_stage(dataset, o), label_stage(o))
    ]


class Objects(NoFold):
    """The fold of every organelle of a dataset, as the planner hosts it."""

    def __init__(self, dataset: Dataset) -> None:
        self._folds = {
            o.recipe: ObjectFold(Settings.model_validate(dict(o.settings)), dataset.voxel_size_nm)
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
        """The extent is known: closed objects become final."""
        for fold in self._folds.values():
            fold.seal()

    def extra(self, stage: str, index: Index) -> bytes | None:
        """Return the mapping restricted to one chunk; None while its summary is not known."""
        try:
            return self._folds[stage.partition("/")[2]].mapping(index)
        except KeyError:
            return None

    def dirty(self) -> Iterable[Place]:
        """Return the label chunks whose mapping may have changed."""
        return [(f"labels/{n}", i) for n, fold in self._folds.items() for i in fold.dirty()]

    def news(self) -> Iterator[ObjectChanged]:
        """Yield what happened to objects."""
        for name, fold in self._folds.items():
            for change in fold.changes():
                yield ObjectChanged(name, change.kind, change.id, change.voxels, change.into)


def arrays(dataset: Dataset) -> list[tuple[str, str, bool]]:
    """Return the arrays that refine owns."""
    names = [o.recipe for o in dataset.organelles]
    fragments_ = [(f"fragments/{n}", "uint64", False) for n in names]
    return fragments_ + [(f"labels/{n}", "uint64", True) for n in names]


SERVICE = Service("refine", stages, fold=Objects, arrays=arrays)
