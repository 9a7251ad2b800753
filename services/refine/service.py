"""refine: predictions become fragments, fragments become objects, objects become labels."""

from typing import TYPE_CHECKING

from fibstream.core.service import Service

from .stages.organelles import ORGANELLES

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.runtime.service import ServicerContext


def servicer(context: "ServicerContext") -> "ServicerBinding":
    """Return what answers the calls of refine."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.refine_pb2_grpc import add_RefineServiceServicer_to_server as add

    from .servicer import RefineServicer

    return ServicerBinding(
        add, RefineServicer(context.root, context.settings), "fibstream.v1.RefineService"
    )


SERVICE = Service("refine", 7803, "fragments and labels", (ORGANELLES,), servicer)
