"""analysis: partial rows for each chunk of labels, and one table for each organelle."""

from typing import TYPE_CHECKING

from fibstream.core.service import Service

from .stages.contacts import CONTACTS
from .stages.measures import MEASURES
from .stages.tables import TABLES

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.runtime.service import ServicerContext


def servicer(context: "ServicerContext") -> "ServicerBinding":
    """Return what answers the calls of analysis."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.analysis_pb2_grpc import add_AnalysisServiceServicer_to_server as add

    from .servicer import AnalysisServicer

    return ServicerBinding(
        add, AnalysisServicer(context.root, context.settings), "fibstream.v1.AnalysisService"
    )


SERVICE = Service("analysis", 7804, "measured", (MEASURES, TABLES, CONTACTS), servicer)
