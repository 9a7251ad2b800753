"""registration: light microscopy on the grid of a volume, while it streams."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fibstream.core.arrays import encode_arrays
from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability, Service, Taken, Word
from fibstream.core.stage import Stage

from .planned import Asked, Light, registrations_of, resolve
from .stages.coarse import COARSE
from .stages.registrations import registration_stage

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.runtime.service import ServicerContext

    from .port import Image


def take(asked: Asked, gate: Any) -> Taken:
    """Read the light image that an element of a pipeline names, through a gate."""
    from .edges.lights import take

    return take(asked, gate)


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:
    """Return one stage for each registration of a dataset."""
    return [
        registration_stage(dataset, each, partial(_light, files), encode_arrays)
        for each in registrations_of(dataset)
    ]


def _light(files: Files, light: Light) -> "Image":
    from .edges.lights import kept

    return kept(files, light)


def servicer(context: "ServicerContext") -> "ServicerBinding":
    """Return what answers the calls of registration."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.registration_pb2_grpc import (
        add_RegistrationServiceServicer_to_server as add,
    )

    from .servicer import RegistrationServicer

    return ServicerBinding(
        add, RegistrationServicer(context.root, context.settings, context.sources),
        "fibstream.v1.RegistrationService",
    )  # fmt: skip


REGISTRATION = Capability(
    ("registration",), stages, words=(Word("registration", Asked, resolve, take),)
)
SERVICE = Service("registration", 7805, "registered", (COARSE, REGISTRATION), servicer)
