"""The services of this installation, with engines that need no network, and a stage of objects."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fibstream import registry
from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import Stage
from fibstream.services.inference.stages.prediction import prediction_stage

from ..support.engines import TinyEngine
from .objects import SPREAD


def _predictions(dataset: Dataset, files: Files) -> list[Stage]:
    """Return the stages of inference with engines that need no network."""
    return [
        prediction_stage(dataset, model, partial(TinyEngine, model.classes))
        for model in dataset.models
    ]


TINY = Capability(("prediction",), _predictions)
OWN = {"inference": (TINY,), "analysis": (*registry.service("analysis").capabilities, SPREAD)}
SERVICES = tuple(
    replace(service, capabilities=OWN.get(service.name, service.capabilities))
    for service in registry.services()
)
