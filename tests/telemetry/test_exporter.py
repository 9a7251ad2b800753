"""The server of ``/metrics``: what it answers, addresses, and clients that misbehave."""

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fibstream.core.errors import WrongUse
from fibstream.telemetry import metrics as declared
from fibstream.telemetry.metrics import METRICS
from fibstream.telemetry.prometheus import REQUESTS, Prometheus

from ..support.patience import PATIENCE_S
from ..support.sockets import drip


def get(address: str, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE_S) as answer:
        body: bytes = answer.read()
        return body.decode()


def test_prometheus_reads_what_is_served(prometheus: Prometheus) -> None:
    prometheus.add(declared.TASKS, stage="labels", outcome="computed")
    prometheus.observe(declared.TASK_SECONDS, 0.3, stage="labels", step="compute")
    with prometheus.serve("127.0.0.1:0") as exporter:
        families = {f.name: f for f in text_string_to_metric_families(get(exporter.address))}
    served = {metric.name.removesuffix("_total"): metric for metric in METRICS}
    assert served.keys() <= families.keys()
    for name, metric in served.items():
        assert (families[name].type, families[name].documentation) == (metric.kind, metric.help)
    found = {(s.name, *sorted(s.labels.items())): s.value for f in families.values()
             for s in f.samples}  # fmt: skip
    labels = ("service", "blur"), ("stage", "labels")
    assert found["fibstream_tasks_total", ("outcome", "computed"), *labels] == 1
    bucket = "fibstream_task_seconds_bucket"
    step = ("step", "compute")
    assert found[bucket, ("le", "0.25"), *labels, step] == 0
    assert found[bucket, ("le", "0.5"), *labels, step] == 1


def test_nothing_else_is_served(prometheus: Prometheus) -> None:
    with (
        prometheus.serve("127.0.0.1:0") as exporter,
        pytest.raises(urllib.error.HTTPError, match="404") as refused,
    ):
        get(exporter.address, "/")
    refused.value.close()


def test_a_closed_exporter_frees_its_port(prometheus: Prometheus) -> None:
    exporter = prometheus.serve("127.0.0.1:0")
    get(exporter.address)
    exporter.close()
    with prometheus.serve(exporter.address) as again:
        assert again.address == exporter.address
        assert "fibstream_build_info" in get(again.address)


def test_a_port_in_use_is_one_clear_line(prometheus: Prometheus) -> None:
    with prometheus.serve("127.0.0.1:0") as exporter:
        with pytest.raises(WrongUse) as wrong:
            prometheus.serve(exporter.address)
        assert str(wrong.value) == f"metrics address {exporter.address}: Address already in use"


@pytest.mark.parametrize(
    "address", ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536",
                "::1:9464", "http://127.0.0.1:9464", "a b:1", "127.0.0.1:-1"]
)  # fmt: skip
def test_an_address_of_another_form_is_refused(prometheus: Prometheus, address: str) -> None:
    with pytest.raises(WrongUse, match="expected HOST:PORT, such as"):
        prometheus.serve(address)


def test_a_host_of_another_machine_is_refused(prometheus: Prometheus) -> None:
    with pytest.raises(WrongUse, match=r"^metrics address 192\.0\.2\.1:9464: "):
        prometheus.serve("192.0.2.1:9464")


def test_ipv6_is_served() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    with Prometheus("blur").serve("[::1]:0") as exporter:
        assert exporter.address.startswith("[::1]:")
        assert "fibstream_build_info" in get(exporter.address)


def test_clients_that_send_nothing_neither_block_nor_exceed_the_threads(
    prometheus: Prometheus,
) -> None:
    before = threading.active_count()
    with prometheus.serve("127.0.0.1:0") as exporter:
        host, _, port = exporter.address.rpartition(":")
        held = [socket.create_connection((host, int(port)), PATIENCE_S) for _ in range(REQUESTS)]
        for _ in range(3):  # the oldest of those that hang makes room
            assert "fibstream_build_info" in get(exporter.address)
        assert threading.active_count() - before <= 2 * REQUESTS + 2  # with the clock of each
        for connection in held:
            connection.close()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                assert "fibstream_build_info" in get(exporter.address)
                break
            except (http.client.HTTPException, OSError):
                assert time.monotonic() < deadline


def test_a_request_that_drips_ends(prometheus: Prometheus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibstream.telemetry.prometheus.REQUEST_S", 0.3)
    with prometheus.serve("127.0.0.1:0") as exporter:
        host, _, port = exporter.address.rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE_S) as link:
            link.sendall(b"GET /metrics HTTP/1.1\r\n")
            assert drip(link, b"X: y\r\n") is not None
