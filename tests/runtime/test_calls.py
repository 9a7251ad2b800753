"""Idle, half-open and slow calls take places for a short while only, and never those of others."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.errors import LimitExceeded
from fibstream.runtime.calls import HEALTH_PER_CLIENT, CallLimits, Share, Stalls, client_of
from fibstream.runtime.grpc import GrpcServer, ServicerBinding
from fibstream.runtime.settings import Settings

from ..support.patience import PATIENCE_S

CODE = grpc.StatusCode
NAME = "fibstream.v1.Test"
QUICK = CallLimits(
    calls=8, client_calls=6, watches=4, client_watches=3,
    first_message_s=0.3, next_message_s=0.3, upload_s=0.8,
)  # fmt: skip
PART, COUNT = 1 << 20, 16  # bytes, and how many of them are poured


class Answers:
    """A service with a method of each kind; requests and responses are bytes."""

    def __init__(self) -> None:
        self.joined = 0
        self.given = threading.Event()

    def join(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        joined = b"".join(requests)
        self.joined += 1
        return joined

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def watch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield request
        while context.is_active() and not self.given.wait(0.02):
            pass

    def pour(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(COUNT):
            yield bytes(PART)

    def add(self, servicer: object, server: grpc.Server) -> None:
        handlers = {
            "Join": grpc.stream_unary_rpc_method_handler(self.join, _plain),
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo, _plain),
            "WatchIt": grpc.unary_stream_rpc_method_handler(self.watch, _plain),
            "Pour": grpc.unary_stream_rpc_method_handler(self.pour, _plain),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


def _plain(data: bytes) -> bytes:
    if data == b"garbage":
        raise ValueError(data)
    return data


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def port(answers: Answers) -> Iterator[int]:
    binding = ServicerBinding(answers.add, answers, NAME)
    server = GrpcServer("127.0.0.1:0", [binding], limits=QUICK)
    server.open()
    yield server.port
    server.close(grace_s=0)


@pytest.fixture
def channel(port: int) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as made:
        yield made


class HalfOpen:
    """Streams that are opened, and on which nothing comes until the test ends."""

    def __init__(self, stack: ExitStack) -> None:
        self._end = threading.Event()
        self.calls: list[Any] = []
        stack.callback(self._close)

    def _close(self) -> None:
        self._end.set()
        for call in self.calls:
            call.cancel()

    def _sent(self, parts: list[bytes], every_s: float) -> Iterator[bytes]:
        for part in parts:
            yield part
            if self._end.wait(every_s):
                return
        self._end.wait(PATIENCE_S)

    def open(self, channel: grpc.Channel, method: str, *parts: bytes, every_s: float = 0.0) -> Any:
        call = channel.stream_stream(method)(self._sent([*parts], every_s))
        self.calls.append(call)
        return call


@pytest.fixture
def half_open() -> Iterator[HalfOpen]:
    with ExitStack() as stack:
        yield HalfOpen(stack)


def echo(channel: grpc.Channel, timeout: float = PATIENCE_S) -> bytes:
    answer: bytes = channel.unary_unary(f"/{NAME}/Echo")(b"x", timeout=timeout)
    return answer


def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert "\n" not in caught.value.details()
    code: grpc.StatusCode = caught.value.code()
    return code


def answered(call: Callable[[], object]) -> None:
    """Call until it is answered."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            call()
        except grpc.RpcError as error:
            assert error.code() is CODE.RESOURCE_EXHAUSTED, error
            threading.Event().wait(0.02)
        else:
            return
    raise AssertionError("never answered")


def is_healthy(channel: grpc.Channel) -> bool:
    request = health_pb2.HealthCheckRequest(service=NAME)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def services(channel: grpc.Channel) -> list[str]:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE_S)
    return [service.name for service in answer.list_services_response.service]


@pytest.mark.parametrize("method", ["Join", "Echo", "WatchIt"])
def test_half_open_calls_are_given_up(
    channel: grpc.Channel, half_open: HalfOpen, method: str
) -> None:
    """Health and reflection are answered all the time, other calls soon again."""
    calls = [half_open.open(channel, f"/{NAME}/{method}") for _ in range(64)]
    assert is_healthy(channel)
    assert NAME in services(channel)
    answered(lambda: echo(channel))
    codes = [code_of(call) for call in calls]
    part = QUICK.client_watches if method == "WatchIt" else QUICK.client_calls
    assert codes.count(CODE.DEADLINE_EXCEEDED) >= part
    assert {*codes} == {CODE.DEADLINE_EXCEEDED, CODE.RESOURCE_EXHAUSTED}
    assert echo(channel) == b"x"


def test_half_open_health_checks_take_no_place_of_calls(
    channel: grpc.Channel, half_open: HalfOpen
) -> None:
    calls = [half_open.open(channel, "/grpc.health.v1.Health/Check") for _ in range(64)]
    assert echo(channel) == b"x"
    answered(lambda: is_healthy(channel))
    codes = [code_of(call) for call in calls]
    assert codes.count(CODE.DEADLINE_EXCEEDED) >= HEALTH_PER_CLIENT


def test_no_thread_stays_with_a_call_that_was_given_up(
    channel: grpc.Channel, half_open: HalfOpen
) -> None:
    for _ in range(3):
        for call in [half_open.open(channel, f"/{NAME}/Join") for _ in range(20)]:
            code_of(call)
    waiting = [
        thread.name for thread in threading.enumerate() if thread.name.startswith("grpc-reader")
    ]
    # A pool makes a thread only where none of its own is idle.
    assert len(waiting) <= QUICK.client_calls + 1


def test_a_stream_may_not_pause_or_last_for_ever(
    channel: grpc.Channel, half_open: HalfOpen, answers: Answers
) -> None:
    pausing = half_open.open(channel, f"/{NAME}/Join", b"a", b"b")
    dripping = half_open.open(channel, f"/{NAME}/Join", *[b"a"] * 100, every_s=0.05)
    assert code_of(pausing) is CODE.DEADLINE_EXCEEDED
    assert code_of(dripping) is CODE.DEADLINE_EXCEEDED
    assert "not ended within 0.8 s" in dripping.details()
    assert answers.joined == 0


def test_a_slow_stream_within_its_time_is_whole(channel: grpc.Channel, answers: Answers) -> None:
    def parts() -> Iterator[bytes]:
        for part in (b"a", b"b", b"c"):
            threading.Event().wait(0.1)
            yield part

    assert channel.stream_unary(f"/{NAME}/Join")(parts(), timeout=PATIENCE_S) == b"abc"


def test_watching_streams_are_counted_apart(channel: grpc.Channel, answers: Answers) -> None:
    watch = channel.unary_stream(f"/{NAME}/WatchIt")
    watching = [watch(b"x", timeout=PATIENCE_S) for _ in range(QUICK.client_watches)]
    assert [next(call) for call in watching] == [b"x"] * QUICK.client_watches
    threading.Event().wait(2 * QUICK.next_message_s)  # none of them is idle: the client reads
    assert all(call.is_active() for call in watching)
    assert code_of(watch(b"x", timeout=PATIENCE_S)) is CODE.RESOURCE_EXHAUSTED
    assert echo(channel) == b"x"
    watching[0].cancel()
    answered(lambda: next(watch(b"x", timeout=PATIENCE_S)))
    answers.given.set()
    for call in watching[1:]:
        assert list(call) == []


class Context:
    """A call that notes that it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


def test_a_client_that_takes_no_answer_is_left() -> None:
    stalls, hangs, reads = Stalls(0.2), Context(), Context()
    try:
        with stalls.sending(cast("Any", hangs)):
            while not hangs.cancelled.wait(0.02):
                with stalls.sending(cast("Any", reads)):
                    pass
        assert not reads.cancelled.is_set()
    finally:
        stalls.close()


def test_a_large_answer_is_whole(channel: grpc.Channel) -> None:
    pour = channel.unary_stream(f"/{NAME}/Pour")
    assert sum(len(part) for part in pour(b"x", timeout=PATIENCE_S)) == COUNT * PART


def test_what_is_no_message_is_the_clients_fault(channel: grpc.Channel) -> None:
    for method in ("Echo", "Join", "WatchIt"):
        for sent in ([b"garbage"], [] if method != "Join" else [b"a", b"garbage"]):
            call = channel.stream_stream(f"/{NAME}/{method}")(iter(sent), timeout=PATIENCE_S)
            assert code_of(call) is CODE.INVALID_ARGUMENT


@given(
    total=st.integers(1, 4), per_client=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40),
)  # fmt: skip
def test_nobody_holds_more_than_a_part_and_all_of_it_is_given(
    total: int, per_client: int, steps: list[tuple[str, bool]]
) -> None:
    share = Share("calls", total, per_client)
    held: dict[str, list[Any]] = {name: [] for name in "abc"}
    for client, takes in steps:
        if not takes:
            if held[client]:
                held[client].pop().__exit__(None, None, None)
            continue
        room = len(held[client]) < per_client and sum(map(len, held.values())) < total
        place = share.hold(client)
        try:
            place.__enter__()
        except LimitExceeded:
            assert not room
        else:
            assert room
            held[client].append(place)


def test_one_client_leaves_places_to_another() -> None:
    share = Share("calls", 3, 2)
    with share.hold("a"), share.hold("a"):
        with pytest.raises(LimitExceeded, match="this client has 2 calls under way"):
            share.hold("a").__enter__()
        with share.hold("b"), pytest.raises(LimitExceeded, match="3 calls are under way"):
            share.hold("c").__enter__()


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("ipv4:10.0.0.7:5123", "10.0.0.7"), ("ipv6:%5B::1%5D:4021", "0000:0000:0000:0000"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:80", "2001:0db8:0001:0002"),
        ("ipv6:[2001:db8:1:2:ffff::9]:81", "2001:0db8:0001:0002"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:80", "10.0.0.7"), ("ipv6:[fe80::1%25eth0]:80",
        "fe80:0000:0000:0000"), ("unix:/run/a.sock", "unix"), ("unix:", "unix"), ("", ""),
    ],
)  # fmt: skip
def test_a_client_is_a_host_and_not_a_connection(peer: str, client: str) -> None:
    assert client_of(peer) == client


def test_the_limits_are_settings() -> None:
    given_ = Settings.model_validate({"calls": 5, "first_message_s": 1.5, "upload_s": 7})
    assert CallLimits.of(given_) == CallLimits(calls=5, first_message_s=1.5, upload_s=7)
    assert CallLimits.of(Settings.model_validate({})) == CallLimits()


def test_idle_and_garbage_connections_change_nothing(channel: grpc.Channel, port: int) -> None:
    chance = random.Random(7)
    with ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                 for _ in range(300)]  # fmt: skip
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        for number, link in enumerate(links[::3]):
            with suppress(ConnectionError):
                link.sendall(preface * (number % 2) + chance.randbytes(chance.randrange(1, 4000)))
        assert is_healthy(channel)
        assert echo(channel) == b"x"
    assert echo(channel) == b"x"
