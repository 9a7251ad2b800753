"""analysis: partial rows for each chunk of labels, and one table for each organelle."""

from collections.abc import Sequence

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.stage import Stage
from fibstream.runtime.loops import Service

from .stages.measures import measure_stage
from .stages.tables import TableFold


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    """Return one stage for each organelle."""
    return [measure_stage(dataset, o.recipe) for o in dataset.organelles]


SERVICE = Service("analysis", stages, fold=TableFold)
