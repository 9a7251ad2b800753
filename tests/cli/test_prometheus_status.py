"""``fibstream status --prometheus``: replicas, lag and freshness of services, or one line."""

import contextlib
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fibstream.cli import prometheus_status
from fibstream.cli.prometheus_status import EXPRESSIONS, MAX_BYTES, asking, services_of, table
from fibstream.core.errors import Retryable, WrongUse

from ..support.command import inside

Answer = Callable[[str], tuple[int, bytes]]


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server that answers each query of its API as told; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, words = self.path.partition("?")
            assert path == "/api/v1/query"
            code, body = answer(urllib.parse.parse_qs(words)["query"][0])
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client has read enough of it
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def series(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1700000000.0, value]}


def body(*found: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"result": found}}).encode()


FOUND = {
    EXPRESSIONS["processes"]: body(
        series("3", service="refine"), series("9", service="inference", namespace="lab")
    ),
    EXPRESSIONS["waiting"]: body(series("12", service="inference", namespace="lab")),
    EXPRESSIONS["result_s"]: body(
        series("NaN", service="refine"), series("3.25", service="inference", namespace="lab")
    ),
}


def test_services_are_told_of_by_name() -> None:
    with answering(lambda query: (200, FOUND.get(query, body()))) as url:
        found = services_of(asking(url + "/"))
        answer = inside("status", "--prometheus", url)
        as_json = inside("status", "--prometheus", url, "--json")
    nothing = dict.fromkeys(EXPRESSIONS)
    wanted = {
        "lab/inference": {**nothing, "processes": 9, "waiting": 12, "result_s": 3.25},
        "refine": {**nothing, "processes": 3},
    }
    assert found == wanted == json.loads(as_json.out)
    assert answer.out.splitlines() == table(found).splitlines()
    assert table(found).splitlines() == [
        "service        processes  tasks waiting  entries behind  tasks a second  results, 95 %",
        "lab/inference          9             12               -               -          3.2 s",
        "refine                 3              -               -               -              -",
    ]  # fmt: skip


def test_a_prometheus_without_fibstream_says_so() -> None:
    assert table(services_of(lambda _: [])) == "Prometheus has no series of fibstream"


@pytest.mark.parametrize(
    "answered",
    [
        (404, b"not found"),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (200, b"[]"),
        (200, b'{"data": {"result": 3}}'),
        (200, body() + b" " * MAX_BYTES + b"x"),
        (200, body("up")),
        (200, body({"metric": [], "value": [0, "1"]})),
        (200, body(series("many", service="refine"))),
    ],
)
def test_what_is_no_prometheus_is_refused_in_one_line(answered: tuple[int, bytes]) -> None:
    with answering(lambda _: answered) as url:
        answer = inside("status", "--prometheus", url)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "--prometheus" in answer.err


@pytest.mark.parametrize("url", ["", "localhost:9090", "file:///etc/passwd", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(WrongUse, match="expected http://HOST:PORT"):
        asking(url)


def test_nobody_there_is_no_wrong_use() -> None:
    with answering(lambda _: (200, body())) as url:
        pass
    with pytest.raises(Retryable, match="--prometheus 'http://127"):
        services_of(asking(url))


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.0 200 OK\r\n\r\n"], ids=["headers", "body"])
def test_an_answer_that_drips_is_given_up(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_status, "TIMEOUT_S", 0.5)
    given_up = threading.Event()

    def drip(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, contextlib.suppress(ConnectionError):
            client.sendall(sent)
            while not given_up.wait(0.05):
                client.sendall(b"H" if not sent else b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        try:
            with pytest.raises(Retryable, match=r"not whole after 0\.5 s"):
                services_of(asking(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            given_up.set()
            thread.join()


@pytest.mark.parametrize(
    ("words", "told"),
    [((), "or --prometheus URL"), (("cell", "--prometheus", "http://x"), "leave PATH out")],
)
def test_status_is_of_a_dataset_or_of_services(words: tuple[str, ...], told: str) -> None:
    answer = inside("status", *words)
    assert answer.code == 2 and told in answer.err
