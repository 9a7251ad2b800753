"""refine: predictions become fragments, fragments become objects, objects become labels."""

from collections.abc import Sequence

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.stage import Stage
from fibstream.runtime.loops import Service

from .stages.fragments import fragment_stage
from .stages.labels import label_stage
from .stages.objects import ObjectsFold


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    """Return two stages for each organelle."""
    return [
        stage for o in dataset.organelles for stage in (fragment_stage(dataset, o), label_stage(o))
    ]


def arrays(dataset: Dataset) -> list[tuple[str, str, bool]]:
    """Return the arrays that refine owns."""
    names = [o.recipe for o in dataset.organelles]
    fragments_ = [(f"fragments/{n}", "uint64", False) for n in names]
    return fragments_ + [(f"labels/{n}", "uint64", True) for n in names]


SERVICE = Service("refine", stages, fold=ObjectsFold, arrays=arrays)
