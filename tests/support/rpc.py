"""A gRPC server in the test's own process with one servicer, a stub of it, and refused calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import pytest

from fibstream.runtime.grpc import GrpcServer, ServicerBinding

Stub = TypeVar("Stub")
Refusal = tuple[grpc.StatusCode, str]  # code and details of a call that failed
CODE = grpc.StatusCode


@contextmanager
def served(add: Callable[[Any, grpc.Server], None], servicer: object) -> Iterator[str]:
    """Serve on a free port of this machine; yield the address."""
    server = GrpcServer("127.0.0.1:0", [ServicerBinding(add, servicer, "fibstream.v1.Test")])
    server.open()
    yield f"127.0.0.1:{server.port}"
    server.close(grace_s=0)


@contextmanager
def serving(
    add: Callable[[Any, grpc.Server], None], servicer: object, stub: Callable[[grpc.Channel], Stub]
) -> Iterator[Stub]:
    """Serve on a free port of this machine; yield a stub that calls it."""
    with served(add, servicer) as address, grpc.insecure_channel(address) as channel:
        yield stub(channel)


def refused(call: Callable[[], Any]) -> Refusal:
    """Return how a call is refused, in one line."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()
