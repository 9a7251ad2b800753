"""What every service needs to take part in a stream of chunks, and the client."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fibstream.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    # The client brings gRPC with it: only those who ask for it wait for that.
    if name == "Client":
        from fibstream.client import Client

        return Client
    raise AttributeError(name)
