"""census: slabs of an organelle, and one table of their volumes."""

from typing import TYPE_CHECKING

from fibstream.core.service import Service

from .slabs import SLABS

if TYPE_CHECKING:
    from fibstream.runtime.grpc import ServicerBinding
    from fibstream.runtime.service import ServicerContext


def servicer(context: "ServicerContext") -> "ServicerBinding":
    """Return a binding without methods: only health checks are answered."""
    from fibstream.runtime.grpc import ServicerBinding

    return ServicerBinding(lambda servicer, server: None, object(), "example.v1.CensusService")


SERVICE = Service("census", 7815, "counted", (SLABS,), servicer)
