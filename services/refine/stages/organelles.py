"""What refine makes of each organelle: fragments and labels, and the fold between them."""

from collections.abc import Sequence

from fibstream.core.dataset import Dataset
from fibstream.core.fold import Fold
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import Stage

from .fragments import fragment_stage
from .labels import label_stage
from .objects import ObjectsFold


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    return [
        stage for o in dataset.organelles for stage in (fragment_stage(dataset, o), label_stage(o))
    ]


def _folds(dataset: Dataset) -> Sequence[Fold]:
    return [ObjectsFold(dataset)]


ORGANELLES = Capability(("fragments", "labels"), _stages, _folds)
