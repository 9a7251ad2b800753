"""How many workers there are follows from what landed: nothing between the two is made up.

Chunks land in a real ingest, its records go over Apache Kafka to a real planner, which counts its
tasks; Prometheus scrapes it; KEDA asks Prometheus by the query of our manifests, and Kubernetes'
own controller makes pods of it. Only the pods are merely said to run (kwok): the tasks are done by
a worker beside the cluster.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream.bus.kafka.declare import declare
from fibstream.bus.topics import PARTITIONS
from fibstream.client import Client
from tests.deploy.conftest import needed
from tests.integration.conftest import CHUNK
from tests.support import broker as kafka
from tests.support.broker import Broker, patiently
from tests.support.cluster import Cluster
from tests.support.command import PROGRAM
from tests.support.patience import eventually
from tests.support.programs import END_WITH_PARENT, free_ports, free_row
from tests.support.prometheus import Prometheus, scraping
from tests.support.scene import PIPELINE, VOXEL_NM, make_scene

from . import autoscaler
from .conftest import PROGRAMS
from .live import GPU_NODES, apply, running

pytestmark = pytest.mark.timeout(600)
WORKERS = ("name=inference", "component=worker")
GRID = (4, 5, 5)  # a hundred chunks
# Minutes are seconds here: how often KEDA asks, how long nothing is to be done before the last
# worker goes, how long fewer are wanted before one goes, and how often one comes or goes.
FASTER = {
    "pollingInterval": 1, "cooldownPeriod": 10,
    "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
        "scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 1}]},
        "scaleDown": {"stabilizationWindowSeconds": 10,
                      "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]},
    }}},
}  # fmt: skip


class Planned(Cluster):
    """Ingest, and the planner of inference that counts; workers come when they are called."""

    def __init__(self, folder: Path, servers: str) -> None:
        super().__init__(folder, f"kafka://{servers}")
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self.first = free_row(2)  # the port of the server's metrics, and that of the planner's
        self.target = f"127.0.0.1:{self.first + 1}"

    def run(self, role: str, *more: str) -> None:
        """Start one role of inference."""
        (port,) = free_ports(1)
        line = [PROGRAM, "serve", "inference", "--role", role, "--root", str(self.root),
                *self._bus, "--listen", f"127.0.0.1:{port}", *more]  # fmt: skip
        with (self._folder / f"{role}.log").open("wb") as log:
            self._programs[role] = subprocess.Popen(
                [sys.executable, "-c", END_WITH_PARENT, *line],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def end(self, role: str) -> None:
        """End a role in good order."""
        self._programs[role].terminate()
        assert self._programs.pop(role).wait(60) == 0

    def close(self) -> None:
        """End whatever is left."""
        for process in self._programs.values():
            process.kill()
            process.wait()
        super().close()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    reason = kafka.missing()
    assert reason is None, reason
    with kafka.running() as one:
        patiently(lambda: declare(one.servers))
        kafka.warm(one.servers)
        yield one


@pytest.fixture(scope="module")
def services(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planned]:
    cluster = Planned(tmp_path_factory.mktemp("services"), broker.servers)
    (cluster.root / "models").mkdir()
    model = make_scene(tmp_path_factory.mktemp("scene")).model.read_bytes()
    (cluster.root / "models" / "bright.onnx").write_bytes(model)
    with contextlib.closing(cluster):
        cluster.start("ingest")
        cluster.run("plan", "--metrics", f"127.0.0.1:{cluster.first}")
        yield cluster


@pytest.fixture(scope="module")
def prometheus(
    services: Planned, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:  # fmt: skip
    """Scrapes the planner, with the namespace that the operator of Prometheus would say."""
    folder = tmp_path_factory.mktemp("prometheus")
    program, targets = needed("prometheus"), [services.target]
    with scraping(program, folder, targets, {"groups": []}, namespace="fibstream") as server:
        server.until(lambda: tasks(server) == 0, "a planner that counts")
        yield server


def tasks(prometheus: Prometheus) -> float | None:
    """Return what Prometheus says of the planner's queue."""
    found = prometheus.query('fibstream_queue_tasks{service="inference"}')
    return float(found[0]["value"][1]) if found else None


@pytest.fixture(scope="module")
def scaled(
    plane: Any, manifests: Path, prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """The live deployment below KEDA, which has looked at it."""
    autoscaler.start(plane, PROGRAMS, tmp_path_factory.mktemp("keda"))
    own = tmp_path_factory.mktemp("own") / "k8s"
    shutil.copytree(manifests, own)
    for path in (own / "components" / "autoscale").rglob(
        "*.yaml"
    ):  # what an operator patches: where Prometheus is
        path.write_text(path.read_text().replace(
            "http://prometheus-operated.monitoring.svc:9090", prometheus.url))  # fmt: skip
    apply(plane, own, "production")
    for one in plane.get("scaledobjects", "-n", "fibstream"):
        plane.kubectl("patch", "scaledobject", one["metadata"]["name"], "-n", "fibstream",
                      "--type=merge", "--patch", json.dumps({"spec": FASTER}))  # fmt: skip
    plane.until(lambda: condition(plane, "Ready") == "True", "KEDA ready")
    return plane


def condition(plane: Any, kind: str) -> str:
    """Return what KEDA says of the workers of inference."""
    (one,) = (each for each in plane.get("scaledobjects", "-n", "fibstream")
              if each["metadata"]["name"] == "inference-worker")  # fmt: skip
    found = one.get("status", {}).get("conditions", [])
    return next((each["status"] for each in found if each["type"] == kind), "")


def workers(plane: Any) -> int:
    return len(running(plane, *WORKERS))


def until(plane: Any, what: str, holds: Callable[[], bool]) -> None:
    """Wait for something, and print how long it took."""
    began = time.monotonic()
    plane.until(holds, what)
    print(f"{what}: {time.monotonic() - began:.1f} s")


def land(client: Client, name: str, grid: tuple[int, int, int]) -> None:
    """Land a new dataset of so many chunks."""
    shape = tuple(n * edge for n, edge in zip(grid, CHUNK, strict=True))
    client.create(name, shape, voxel_size_nm=(VOXEL_NM,) * 3, chunk=CHUNK,
                  pipeline=PIPELINE.format(model="bright"))  # fmt: skip
    voxels = np.random.default_rng(1).integers(0, 256, CHUNK, np.uint8)
    for index in np.ndindex(grid):
        client.land(name, index, voxels)
    client.seal(name)


def test_workers_come_with_the_chunks_that_land_and_go_when_all_is_done(
    scaled, services, prometheus
) -> None:
    until(scaled, "\nno chunk, no worker", lambda: workers(scaled) == 0)
    with services.client() as client:
        land(client, "one", (1, 1, 1))
        eventually(lambda: tasks(prometheus) == 1, "a task in Prometheus")
        until(scaled, "1 task: the first worker", lambda: workers(scaled) == 1)
        assert condition(scaled, "Active") == "True"
        land(client, "many", GRID)
        eventually(lambda: tasks(prometheus) == 1 + np.prod(GRID), "all tasks in Prometheus")
        until(scaled, "101 tasks: all workers", lambda: workers(scaled) == PARTITIONS)
        assert {p["spec"]["nodeName"] for p in running(scaled, *WORKERS)} == set(GPU_NODES)
        services.run("work")
        eventually(lambda: tasks(prometheus) == 0, "all done")
        services.end("work")
    until(scaled, "nothing to do: the last worker gone", lambda: workers(scaled) == 0)
    assert condition(scaled, "Active") == "False"


def test_without_a_planner_that_counts_there_are_some_workers_and_not_none(
    scaled, services, prometheus
) -> None:
    """A planner that is away has counted nothing: that is not "no task"."""
    services.end("plan")
    prometheus.until(lambda: tasks(prometheus) is None, "no number")
    until(scaled, "\nno number: the fallback", lambda: workers(scaled) == 2)
    services.run("plan", "--metrics", f"127.0.0.1:{services.first}")
    prometheus.until(lambda: tasks(prometheus) == 0, "a number")
    until(scaled, "a number again: no worker", lambda: workers(scaled) == 0)
