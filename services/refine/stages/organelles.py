"""What refine makes of each organelle: the stages and the fold of its recipe."""

from collections.abc import Sequence

from fibstream.core.dataset import Dataset
from fibstream.core.fold import Fold
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import Stage
from fibstream.services.refine.recipe import find_recipe


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    return [s for o in dataset.organelles for s in find_recipe(o.recipe).stages(dataset, o)]


def _folds(dataset: Dataset) -> Sequence[Fold]:
    return [find_recipe(o.recipe).fold(dataset, o) for o in dataset.organelles]


ORGANELLES = Capability(("fragments", "labels"), _stages, _folds)
