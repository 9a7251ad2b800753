"""ingest: land chunks, announce them, and keep the raw pyramid."""

from typing import TYPE_CHECKING

from fibstream.core.dataset import Dataset
from fibstream.core.service import Service
from fibstream.core.stage import RAW, Input

from .stages.pyramid import PYRAMID
from .stages.stored import STORED, masks, stored

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.runtime.service import ServicerContext


def lands(dataset: Dataset) -> list[Input]:
    """Return what lands from outside: raw, a mask, and the predictions that no network makes."""
    return [Input(RAW, RAW, dataset.dtype), *masks(dataset), *stored(dataset)]


def servicer(context: "ServicerContext") -> "ServicerBinding":
    """Return what answers the calls of ingest."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server as add

    from .edges.designer import PluggedDesigner
    from .servicer import IngestServicer

    designer = PluggedDesigner(context.root, context.settings, context.sources)
    answering = IngestServicer(context.root, designer, context.sources, context.telemetry)
    return ServicerBinding(add, answering, "fibstream.v1.IngestService")


SERVICE = Service("ingest", 7801, "landed, raw pyramid", (STORED, PYRAMID), servicer, lands)
