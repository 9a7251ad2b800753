"""Connections to running services: channels, deadlines, repetition, errors by their names."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from fibstream import registry
from fibstream.core.addresses import addresses
from fibstream.core.errors import (
    AlreadyExists,
    Damaged,
    FibstreamError,
    LimitExceeded,
    NotFound,
    OutOfRange,
    Retryable,
    WrongState,
    WrongUse,
)

PIECE = 2 << 20  # bytes of a message: between 1 and 4 MB gRPC is fastest
MAX_MESSAGE = 8 << 20  # bytes, as the servers have it
_ERRORS: dict[grpc.StatusCode, type[FibstreamError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: WrongUse,
    grpc.StatusCode.DATA_LOSS: Damaged,
    grpc.StatusCode.UNAVAILABLE: Retryable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Retryable,
    grpc.StatusCode.CANCELLED: Retryable,
}


class Connection:
    """Channels to the services that ``server`` names; see ``addresses.addresses`` for its forms.

    Every call has a deadline of ``timeout_s``. A server that is away is called again for
    ``patience_s``: all calls are safe to repeat. Raises the errors of ``fibstream.core.errors``.
    """

    def __init__(
        self, server: str = "127.0.0.1", *, timeout_s: float = 60.0, patience_s: float = 60.0
    ) -> None:
        self._addresses = addresses(server, registry.ports())
        self._timeout_s = timeout_s
        self._patience = Retrying(
            retry=retry_if_exception_type(Retryable), stop=stop_after_delay(patience_s),
            wait=wait_exponential(0.1, max=2.0), reraise=True,
        )  # fmt: skip
        self._channels: dict[str, grpc.Channel] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def _channel(self, service: str) -> grpc.Channel:
        if service not in self._addresses:
            raise WrongUse(f"--server names no {service}; expected {service}=HOST:PORT in it")
        if service not in self._channels:
            options = [
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ]
            self._channels[service] = grpc.insecure_channel(self._addresses[service], options)
        return self._channels[service]

    def _call(self, method: Any, request: Any) -> Any:
        """Call until it is answered; a callable request is made anew for each attempt."""
        for attempt in self._patience.copy():
            with attempt, named_errors():
                body = request() if callable(request) else request
                return method(body, timeout=self._timeout_s)
        raise AssertionError  # unreachable: the last attempt raises


@contextmanager
def named_errors() -> Iterator[None]:
    """Turn a status code into the error that the server raised."""
    try:
        yield
    except grpc.RpcError as error:
        kind = _ERRORS.get(error.code(), FibstreamError)
        raise kind(error.details() or error.code().name) from None


def pieces_of(voxels: NDArray[Any]) -> Iterable[bytes]:
    """Yield the voxels in C order, as bytes, in pieces that gRPC carries fast."""
    data = voxels.reshape(-1).view(np.uint8).data
    return (bytes(data[start : start + PIECE]) for start in range(0, len(data), PIECE))
