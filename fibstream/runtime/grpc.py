"""The gRPC side of a service: limits, health, reflection, errors as rich status, graceful stop.

What a service answers is in its ``servicer.py``; handlers raise the errors of ``errors.py`` and
never touch a status code.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status.rpc_status import to_status

from fibstream.core.errors import (
    AlreadyExists,
    Damaged,
    DiskFull,
    FibstreamError,
    LimitExceeded,
    NotFound,
    OutOfRange,
    Poison,
    Retryable,
    WrongState,
    WrongUse,
)
from fibstream.telemetry.metrics import SILENT, Telemetry

from .calls import LIMITS, CallLimits, IdleCall, Incoming, Shares, Stalls, client_of

log = logging.getLogger(__name__)

DOMAIN = "fibstream"
MAX_MESSAGE = 8 << 20  # bytes: pieces are 1 to 4 MB; beyond 8 MB gRPC falls to a third of its speed
SPARE = 8  # threads that answer calls for which there is no place
MAX_WAITING = (
    512  # calls that wait for a thread to be told so; beyond it gRPC refuses any, health too
)
MAX_STREAMS = 512  # of one connection: more than a client may have calls, which are told so
KEEPALIVE_MS = 60_000  # between looks whether a silent client is still there
GRACE_S = 10.0  # calls may go on so long after a stop
RETRY_S = 1
MAX_DETAIL = 2000  # characters: trailers have a limit of 8 KB
_CODES: tuple[tuple[type[Exception], Code.ValueType, str], ...] = (
    (NotFound, Code.NOT_FOUND, "NOT_FOUND"),
    (AlreadyExists, Code.ALREADY_EXISTS, "ALREADY_THERE"),
    (Damaged, Code.DATA_LOSS, "DAMAGED"),
    (WrongState, Code.FAILED_PRECONDITION, "NOT_NOW"),
    (OutOfRange, Code.OUT_OF_RANGE, "BEYOND_THE_END"),
    (LimitExceeded, Code.RESOURCE_EXHAUSTED, "TOO_MUCH"),
    (WrongUse, Code.INVALID_ARGUMENT, "WRONG_USE"),
    (Poison, Code.INVALID_ARGUMENT, "POISON"),
    (DiskFull, Code.RESOURCE_EXHAUSTED, "DISK_FULL"),
    (Retryable, Code.UNAVAILABLE, "AWAY"),
    (IdleCall, Code.DEADLINE_EXCEEDED, "IDLE"),
    (FibstreamError, Code.INTERNAL, "FAILED"),
)


class ServicerBinding(NamedTuple):
    """One gRPC service: how it is added to a server, who answers, and its full name."""

    add: Callable[[Any, grpc.Server], None]
    servicer: object
    name: str


def status_of(error: FibstreamError) -> Status:
    """Return an error as a rich status: code, message, reason, and when to try again."""
    code, reason = next((c, r) for kind, c, r in _CODES if isinstance(error, kind))
    details = [_packed(ErrorInfo(reason=reason, domain=DOMAIN))]
    if isinstance(error, Retryable) and not isinstance(error, DiskFull):
        details.append(_packed(RetryInfo(retry_delay=Duration(seconds=RETRY_S))))
    # A name of a file may hold bytes that are no text, and a status takes text alone.
    text = str(error).encode(errors="backslashreplace").decode()
    message = " ".join(text.split())[:MAX_DETAIL]
    return Status(code=code, message=message, details=details)


def _packed(message: Any) -> Packed:
    packed = Packed()
    packed.Pack(message)
    return packed


class _CallInterceptor(grpc.ServerInterceptor):
    """Bounds and counts every call, and turns what a handler raises into a status.

    All handlers become those of streams of bytes, the same on the wire: gRPC would otherwise wait
    for the one message of a call without end, and before anything of ours is asked.
    """

    def __init__(
        self, telemetry: Telemetry, limits: CallLimits, readers: Executor, stalls: Stalls
    ) -> None:
        self._telemetry = telemetry
        self._limits = limits
        self._shares = Shares(limits)
        self._readers = readers
        self._stalls = stalls

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handler of a method; gRPC itself answers what has none."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler, method), None, handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            self._single(handler, method), None, handler.response_serializer
        )

    def _single(self, handler: Any, method: str) -> Callable[..., Any]:
        inner = handler.stream_unary or handler.unary_unary

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            begun = time.monotonic()
            try:
                with self._shares.of(method).hold(client_of(context.peer())):
                    return inner(self._request(handler, requests), context)
            except Exception as error:
                self._refuse(error, context)
            finally:
                self._count(method, context, begun)

        return behave

    def _stream(self, handler: Any, method: str) -> Callable[..., Iterator[Any]]:
        inner = handler.stream_stream or handler.unary_stream

        def behave(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            begun = time.monotonic()
            try:
                with self._shares.of(method).hold(client_of(context.peer())):
                    for response in inner(self._request(handler, requests), context):
                        with self._stalls.sending(context):
                            yield response
            except Exception as error:
                self._refuse(error, context)
            finally:
                self._count(method, context, begun)

        return behave

    def _request(self, handler: Any, requests: Iterator[bytes]) -> Any:
        """Return the message of a call, or the stream of them where the method takes one."""
        messages = Incoming(requests, handler.request_deserializer, self._limits, self._readers)
        if handler.request_streaming:
            return messages
        message = next(messages, None)
        if message is None:
            raise WrongUse("the call has ended without its message")
        return message

    def _refuse(self, error: Exception, context: grpc.ServicerContext) -> None:
        """End the call with the status of an error; raises."""
        if not context.is_active():
            raise error  # the client is gone: nobody reads a status
        if isinstance(error, FibstreamError):
            context.abort_with_status(to_status(status_of(error)))
        if context.code() is not None:
            raise error  # aborted by the handler
        log.exception("a call failed")
        context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log says more")

    def _count(self, method: str, context: grpc.ServicerContext, begun: float) -> None:
        code = context.code() or grpc.StatusCode.OK
        if not context.is_active() and context.code() is None:
            code = grpc.StatusCode.CANCELLED
        name = method.rpartition("/")[2]
        self._telemetry.called(name, code.name, time.monotonic() - begun)


class GrpcServer:
    """A gRPC server with the servicers of one service, its health and reflection."""

    def __init__(
        self, address: str, bindings: Sequence[ServicerBinding], telemetry: Telemetry = SILENT,
        limits: CallLimits = LIMITS,
    ) -> None:  # fmt: skip
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.so_reuseport", 0),  # a second server on the port is a mistake
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
        ]
        self._bindings = bindings
        threads = limits.places + SPARE
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="grpc")
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="grpc-reader")
        self._stalls = Stalls(limits.next_message_s)
        interceptor = _CallInterceptor(telemetry, limits, self._readers, self._stalls)
        self._server = grpc.server(
            self._pool, interceptors=[interceptor], options=options,
            maximum_concurrent_rpcs=threads + MAX_WAITING,
        )  # fmt: skip
        self._health = health.HealthServicer()
        self._quarantined: set[str] = set()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for binding in bindings:
            binding.add(binding.servicer, self._server)
        names = [binding.name for binding in bindings]
        reflection.enable_server_reflection(
            [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise WrongUse(f"--listen {address}: cannot be opened; expected a free HOST:PORT") \
                from error  # fmt: skip
        self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server.start()

    def open(self) -> None:
        """Say that calls are welcome: what they need is there."""
        self._say(health_pb2.HealthCheckResponse.SERVING)

    def name_quarantined(self, datasets: Collection[str]) -> None:
        """Report ``NOT_SERVING`` for ``dataset/NAME`` of those that are left alone."""
        found = {f"dataset/{name}" for name in datasets}
        for name in self._quarantined - found:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        for name in found - self._quarantined:
            self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._quarantined = found

    def close(self, grace_s: float = GRACE_S) -> None:
        """Take no new call, let those under way end, then cancel them."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._pool.shutdown()
        self._stalls.close()
        self._readers.shutdown()

    def _say(self, status: "health_pb2.HealthCheckResponse.ServingStatus.ValueType") -> None:
        for name in ("", *(binding.name for binding in self._bindings)):
            self._health.set(name, status)
