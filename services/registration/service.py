"""registration: light microscopy on the grid of a volume; it has no stage yet."""

from typing import TYPE_CHECKING

from fibstream.core.service import Service

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.runtime.service import ServicerContext


def servicer(context: "ServicerContext") -> "ServicerBinding":
    """Return what answers the calls of registration."""
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.v1.registration_pb2_grpc import (
        add_RegistrationServiceServicer_to_server as add,
    )

    from .servicer import RegistrationServicer

    return ServicerBinding(
        add, RegistrationServicer(context.root, context.settings),
        "fibstream.v1.RegistrationService",
    )  # fmt: skip


SERVICE = Service("registration", 7805, "registered", (), servicer)
