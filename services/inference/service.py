"""inference: predict every class of every network, one chunk at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability, Service
from fibstream.core.stage import Stage
from fibstream.telemetry.metrics import MODEL_INFO, Telemetry

from .edges.supplier import EngineSupplier
from .stages.prediction import prediction_stage

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.runtime.service import ServicerContext


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:
    """Return one stage for each network; it writes all of the network's classes."""
    return [
        prediction_stage(dataset, model, EngineSupplier(model, files)) for model in dataset.models
    ]


def describe(dataset: Dataset, telemetry: Telemetry) -> None:
    """Say which networks a dataset is predicted with."""
    for model in dataset.models:
        told = {k: model.profile.get(k, "") for k in ("runtime", "provider", "precision")}
        telemetry.set(MODEL_INFO, 1, model=model.name, sha256=model.sha256, **told)


def servicer(context: "ServicerContext") -> "ServicerBinding":
    """Return what answers the calls of inference."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server as add

    from .servicer import InferenceServicer

    return ServicerBinding(
        add, InferenceServicer(context.root, context.settings), "fibstream.v1.InferenceService"
    )


PREDICTION = Capability(("prediction",), stages)
SERVICE = Service("inference", 7802, "predicted", (PREDICTION,), servicer, describe=describe)
