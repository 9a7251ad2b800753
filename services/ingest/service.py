"""ingest: land chunks, announce them, and keep the raw pyramid."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.stage import RAW, Input, Stage
from fibstream.runtime.service import Service, ServicerContext

from .stages.pyramid import pyramid_stage

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    """Return the pyramid of raw, if there is one."""
    return [] if dataset.levels == 1 else [pyramid_stage(dataset)]


def arrays(dataset: Dataset) -> list[tuple[str, str, bool]]:
    """Return the arrays that ingest owns."""
    return [(RAW, dataset.dtype, True)]


def lands(dataset: Dataset) -> Input:
    """Return what lands from outside."""
    return Input(RAW, RAW, dataset.dtype)


def servicer(context: ServicerContext) -> "ServicerBinding":
    """Return what answers the calls of ingest."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server as add

    from .edges.designer import PluggedDesigner
    from .servicer import IngestServicer

    designer = PluggedDesigner(context.root, context.settings.threads)
    answering = IngestServicer(context.root, designer, context.sources, context.telemetry)
    return ServicerBinding(add, answering, "fibstream.v1.IngestService")


SERVICE = Service("ingest", stages, arrays=arrays, lands=lands, servicer=servicer)
