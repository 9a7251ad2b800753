"""Live services below a real Prometheus: every expression answers; alerts fire and clear."""

import contextlib
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fibstream import registry
from fibstream.bus import wire
from fibstream.core.dataset import RECORD
from fibstream.core.errors import WrongUse

from ..integration.conftest import CHUNK, create, land_all
from ..support.cluster import Cluster
from ..support.command import inside
from ..support.patience import PATIENCE_S
from ..support.programs import free_row
from ..support.prometheus import Prometheus, faster, scraping
from ..support.scene import Scene, make_scene
from ..support.services import bus_of
from .conftest import needed
from .test_rules import RULES, panels, rules

# What fires on healthy services where the machine below the tests is at fault: how it fires and
# clears is tested on figures (test_rules), not on somebody's disk.
OF_THE_MACHINE = {"FibstreamDiskNearlyFull"}

ROW = 3  # processes of a service, at ports in a row: the server, its planner, a worker


class Metered(Cluster):
    """Services that export their metrics."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        first = free_row(ROW * len(registry.names()))
        self.ports = {n: first + ROW * i for i, n in enumerate(registry.names())}

    def command(self, name: str) -> list[str]:
        return [*super().command(name), "--metrics", f"127.0.0.1:{self.ports[name]}"]

    @property
    def targets(self) -> list[str]:
        """The addresses of all processes."""
        return [f"127.0.0.1:{p + n}" for p in self.ports.values() for n in range(ROW)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def services(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Metered]:  # fmt: skip
    """All services, with a volume that went through them."""
    cluster = Metered(tmp_path_factory.mktemp("services"))
    (cluster.root / "models").mkdir()
    (cluster.root / "models" / "bright.onnx").write_bytes(scene.model.read_bytes())
    with contextlib.closing(cluster):
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def prometheus(
    services: Metered, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Scrapes the services from before the first chunk on."""
    program = needed("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with scraping(program, folder, services.targets, faster(RULES)) as server:
        server.until(lambda: len(server.query("up == 1")) == len(services.targets), "all up")
        with services.client() as client:
            create(client, "cell")
            # Only what lands in front of a planner's eyes has a freshness.
            opened = "fibstream_reconcile_seconds_count > 0"
            server.until(lambda: len(server.query(opened)) == len(registry.names()), "all opened")
            land_all(client, "cell", scene)
            assert client.wait("cell").complete
        yield server


def test_every_metric_is_as_prometheus_wants_it(services: Metered, prometheus: Prometheus) -> None:
    for target in services.targets:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=PATIENCE_S) as answer:
            text = answer.read()
        command = [needed("promtool"), "check", "metrics"]
        found = subprocess.run(command, input=text, capture_output=True, check=False)
        assert (found.returncode, found.stderr) == (0, b""), found.stderr.decode()


def test_every_expression_of_rules_and_dashboard_answers(prometheus: Prometheus) -> None:
    """Rates are asked for over all that was scraped: of what went through there is something."""
    unanswered = dict(rules("record") | panels())
    gpus = {name for name, expression in unanswered.items() if "fibstream_gpu_" in expression}
    for name in gpus:  # without one there is no answer, and no error either
        assert all(0 <= float(each["value"][1]) <= 1 for each in prometheus.query(unanswered[name]))
        del unanswered[name]
    assert len(gpus) == 2

    def ask() -> bool:
        for name, expression in list(unanswered.items()):
            if prometheus.query(expression):
                del unanswered[name]
        return not unanswered

    with contextlib.suppress(AssertionError):
        prometheus.until(ask, "answers", 20)
    assert not unanswered
    for name, expression in rules("alert").items():
        prometheus.query(expression)  # an error would be an exception
        assert name not in prometheus.firing() - OF_THE_MACHINE
    health = {rule["name"]: rule["health"] for group in prometheus.ask("rules")["groups"]
              for rule in group["rules"]}  # fmt: skip
    assert set(health.values()) == {"ok"}, health


def test_the_command_tells_of_replicas_lag_and_freshness(prometheus: Prometheus) -> None:
    found: dict[str, dict[str, float | None]] = {}

    def at_rest() -> bool:  # gauges are updated every five seconds
        answer = inside("status", "--prometheus", prometheus.url, "--json")
        assert answer.code == 0, answer.err
        found.update(answer.report)
        return all(told["waiting"] == told["behind"] == 0 for told in found.values())

    prometheus.until(at_rest, "nothing waits")
    assert {name: told["processes"] for name, told in found.items()} == dict.fromkeys(
        registry.names(), ROW
    )
    assert all((found["inference"][column] or 0) > 0 for column in ("tasks_per_s", "result_s"))
    assert found["registration"]["result_s"] is None  # its pipeline registers nothing


@contextlib.contextmanager
def alarm(prometheus: Prometheus, name: str) -> Iterator[None]:
    """What is done in the block raises an alert; what is done after its yield ends it."""
    assert name not in prometheus.firing()
    yield
    prometheus.until(lambda: name in prometheus.firing(), f"{name} fires")


def cleared(prometheus: Prometheus, name: str) -> None:
    prometheus.until(lambda: name not in prometheus.firing(), f"{name} clears")


def test_a_refused_chunk_raises_its_alert_which_clears(
    services: Metered, prometheus: Prometheus
) -> None:
    other = np.zeros(CHUNK, np.uint8)
    with (
        services.client() as client,
        alarm(prometheus, "FibstreamLandingsRefused"),
        pytest.raises(WrongUse),  # a revision that is there, with other content
    ):
        client.land("cell", (0, 0, 0), other, revision=1)
    cleared(prometheus, "FibstreamLandingsRefused")


def test_a_damaged_record_raises_its_alert_which_clears(
    services: Metered, prometheus: Prometheus
) -> None:
    record = services.root / "cell.zarr" / RECORD
    before = record.read_bytes()
    with alarm(prometheus, "FibstreamDatasetLeftAlone"):
        record.write_bytes(json.dumps({"name": "cell"}).encode())
    record.write_bytes(before)
    cleared(prometheus, "FibstreamDatasetLeftAlone")


def test_junk_on_the_bus_raises_its_alert(services: Metered, prometheus: Prometheus) -> None:
    junk = wire.ledger_topics()[0], "cell/raw/0.0.0", b"no event"
    with (
        alarm(prometheus, "FibstreamStrangersOnBus"),
        bus_of(services.root / "cell.zarr") as bus,
    ):
        bus.publish(*junk)


def test_a_service_that_hangs_raises_its_alert_which_clears(
    services: Metered, prometheus: Prometheus
) -> None:
    stopped = services.processes["refine"].pid
    with alarm(prometheus, "FibstreamProcessDown"):
        os.kill(stopped, signal.SIGSTOP)
    os.kill(stopped, signal.SIGCONT)
    cleared(prometheus, "FibstreamProcessDown")
