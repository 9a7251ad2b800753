"""The files of compose, as an operator gets them; no engine is needed."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fibstream import registry
from fibstream.runtime.main import _parser

from ..support import broker
from .conftest import ROOT, needed
from .test_images import build

WORKERS = 2
OTHERS = {"kafka", "prometheus"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the program writes."""
    made = tmp_path_factory.mktemp("compose")
    words = [sys.executable, "-m", "deploy.compose", str(made), "--workers", str(WORKERS)]
    subprocess.run(words, cwd=ROOT, check=True)
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    return dict(services)


def test_every_service_runs_its_image_with_words_that_it_takes(found) -> None:
    assert found.keys() == {*registry.names(), *OTHERS}
    for name in registry.names():
        assert found[name]["image"] == build.tag(name)
        given = _parser(name).parse_args(found[name]["command"])
        assert (given.root, given.workers) == ("/data", WORKERS)
        assert given.listen.endswith(f":{registry.ports()[name]}")
        (port,) = found[name]["ports"]
        assert port == "127.0.0.1:{0}:{0}".format(registry.ports()[name])  # nobody else's


def test_containers_gain_nothing_and_write_datasets_alone(found) -> None:
    (user,) = re.findall(r"^USER (.+)$", (ROOT / "services/Dockerfile").read_text(), flags=re.M)
    for name in registry.names():
        one = found[name]
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["user"] == f"${{FIBSTREAM_USER:-{user}}}"
        assert one["tmpfs"] == ["/tmp:mode=1777"]
        (data,) = one["volumes"]
        assert data["target"] == "/data"
        assert data["bind"] == {"create_host_path": False}


def test_a_container_has_the_time_of_a_pod_to_end(found, rendered) -> None:
    pods = {d["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            for d in rendered["local"] if d["kind"] == "Deployment"}  # fmt: skip
    assert {found[name]["stop_grace_period"] for name in registry.names()} == {
        f"{seconds}s" for seconds in pods
    }


def test_every_process_of_a_service_is_asked_by_prometheus(folder, found) -> None:
    (job,) = yaml.safe_load((folder / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["job_name"] == "fibstream"  # what the alerts look for
    asked = [target.rsplit(":", 1) for target in job["static_configs"][0]["targets"]]
    for name in registry.names():
        given = _parser(name).parse_args(found[name]["command"])
        first = int(given.metrics.rsplit(":", 1)[1])
        ports = {int(port) for host, port in asked if host == name}
        # The server's process, the planner one port higher, then the workers: docs/operating.md.
        assert ports == {*range(first, first + 2 + WORKERS)}


def test_prometheus_takes_its_files(folder) -> None:
    words = [needed("promtool"), "check", "config", "prometheus.yaml"]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"SUCCESS: \d\d+ rules found", ended.stdout), ended.stdout


def test_the_broker_is_set_as_that_of_the_tests(found) -> None:
    settings = {
        key.removeprefix("KAFKA_").lower().replace("_", "."): value
        for key, value in found["kafka"]["environment"].items() if key.startswith("KAFKA_")
    }  # fmt: skip
    ours = dict(line.split("=", 1) for line in broker.PROPERTIES.splitlines() if "=" in line)
    assert settings.keys() <= ours.keys()
    own = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}
    assert {k: v for k, v in settings.items() if k not in own} == {
        k: v for k, v in ours.items() if k in settings.keys() - own
    }
    # Where services look for it is where it says that it is.
    assert settings["advertised.listeners"] == "PLAINTEXT://kafka:9092"
    for name in registry.names():
        assert _parser(name).parse_args(found[name]["command"]).bus == "kafka://kafka:9092"


def test_its_version_is_the_one_of_the_cluster_too(found) -> None:
    path = ROOT / "deploy/k8s/components/strimzi/cluster.yaml"
    (cluster,) = [d for d in yaml.safe_load_all(path.read_text()) if d["kind"] == "Kafka"]
    assert found["kafka"]["image"] == f"apache/kafka:{cluster['spec']['kafka']['version']}"


def test_a_wrong_use_is_one_line(tmp_path) -> None:
    (tmp_path / "file").touch()
    for words in ([tmp_path / "new", "--workers", "0"], [tmp_path / "file"]):
        ended = subprocess.run(
            [sys.executable, "-m", "deploy.compose", *map(str, words)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1, ended.stderr
    assert not (tmp_path / "new").exists()
