"""refine: predictions become fragments, fragments become objects, objects become labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.stage import Stage
from fibstream.runtime.service import Service, ServicerContext

from .stages.fragments import fragment_stage
from .stages.labels import label_stage
from .stages.objects import ObjectsFold

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding


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


def servicer(context: ServicerContext) -> "ServicerBinding":
    """Return what answers the calls of refine."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.refine_pb2_grpc import add_RefineServiceServicer_to_server as add

    from .servicer import RefineServicer

    return ServicerBinding(
        add, RefineServicer(context.root, context.settings), "fibstream.v1.RefineService"
    )


SERVICE = Service("refine", stages, fold=ObjectsFold, arrays=arrays, servicer=servicer)
