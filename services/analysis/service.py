"""analysis: partial rows for each chunk of labels, and one table for each organelle."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.stage import Stage
from fibstream.runtime.service import Service, ServicerContext

from .stages.measures import measure_stage
from .stages.tables import TableFold

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    """Return one stage for each organelle."""
    return [measure_stage(dataset, o.recipe) for o in dataset.organelles]


def servicer(context: ServicerContext) -> "ServicerBinding":
    """Return what answers the calls of analysis."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.analysis_pb2_grpc import add_AnalysisServiceServicer_to_server as add

    from .servicer import AnalysisServicer

    return ServicerBinding(
        add, AnalysisServicer(context.root, context.settings), "fibstream.v1.AnalysisService"
    )


SERVICE = Service("analysis", stages, fold=TableFold, servicer=servicer)
