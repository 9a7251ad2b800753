"""``compose.yaml`` as it runs: part of ``make test-images`` where an engine has compose."""

import json
import os
import shlex
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import compose
from deploy.images.containers import USER, runner
from deploy.images.standins import provide
from deploy.images.test_containers import timed
from fibstream import registry
from fibstream.app.hashes import hashes
from fibstream.client import Client
from fibstream.runtime.healthy import healthy
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from tests.integration.conftest import CHUNKS, create, land_all
from tests.support.patience import PATIENCE_S, eventually
from tests.support.scene import Scene, blobs, make_scene, whole

pytestmark = pytest.mark.timeout(1800)
PROMETHEUS = "http://127.0.0.1:9090"


@cache
def program() -> list[str]:
    """Return the words that call compose: ``COMPOSE``, or what the engine has."""
    if given := os.environ.get("COMPOSE"):
        return shlex.split(given)
    if runner() == "docker":
        return ["docker", "compose"]
    if not shutil.which("podman-compose"):
        pytest.skip("needs docker compose, or podman-compose of PyPI; COMPOSE names it")
    return ["podman-compose"]


class Composed:
    """Everything of one file of compose, and its folder of datasets."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.files = folder / "compose"
        compose.write(self.files, registry.services(), 1)
        found = yaml.safe_load((self.files / "compose.yaml").read_text())
        self.services: dict[str, Any] = found["services"]

    def call(self, *words: str) -> str:
        """Call compose."""
        ended = subprocess.run(
            [*program(), "--file", "compose.yaml", *words], cwd=self.files, check=False,
            capture_output=True, text=True, env={**os.environ, "FIBSTREAM_DATA": str(self.data)},
        )  # fmt: skip
        assert not ended.returncode, f"{words}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def client(self) -> Client:
        """Return a client of what is published on this machine."""
        return Client("127.0.0.1", timeout_s=PATIENCE_S, patience_s=PATIENCE_S)

    def hashes(self, name: str) -> tuple[str, str]:
        """Return the hashes of a dataset's labels and tables."""
        out = self.data / f"{name}.zarr"
        return hashes(out, read_dataset(LocalFiles(out)))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory, scene: Scene) -> Iterator[Composed]:
    """All of it, started."""
    program()
    made = Composed(tmp_path_factory.mktemp("composed"))
    for name in ("kafka", "prometheus"):
        image = made.services[name]["image"]
        print(f"\n{image}: {provide(image, tmp_path_factory.mktemp(name))}")
    (made.data / "models").mkdir()
    (made.data / "models" / "bright.onnx").write_bytes(scene.model.read_bytes())
    os.chown(made.data, USER, USER)
    try:
        with timed("up, to the first answer of all services"):
            made.call("up", "--detach")
            for port in registry.ports().values():
                eventually(partial(healthy, f"127.0.0.1:{port}"), f"health at {port}")
        yield made
    finally:
        with timed("down"):
            made.call("down", "--volumes")


@pytest.mark.usefixtures("composed")
def test_prometheus_scrapes_every_process_and_has_the_rules() -> None:
    (job,) = compose.prometheus(registry.services(), 1)["scrape_configs"]
    count = len(job["static_configs"][0]["targets"])
    eventually(lambda: ask("query", query="sum(up)")["result"][0]["value"][1] == str(count),
               f"{count} targets up")  # fmt: skip
    groups = ask("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    assert sum(len(group["rules"]) for group in groups) > 10


def ask(path: str, **words: str) -> Any:
    """Return the data of an answer of Prometheus."""
    url = f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(words)}"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return json.load(answer)["data"]


def test_a_volume_goes_through_and_has_the_whole_volumes_hashes(composed, scene) -> None:
    with composed.client() as client, timed(f"{CHUNKS} chunks through all stages"):
        create(client, "cell")
        assert land_all(client, "cell", scene) == {"written": CHUNKS}
        assert client.wait("cell").failed_count == 0
    assert composed.hashes("cell") == whole(blobs(), composed.data / "cell.zarr")


def test_a_broker_that_is_restarted_has_its_topics_and_the_next_volume_goes_through(
    composed, scene
) -> None:
    with timed("kafka restarted"):
        composed.call("restart", "kafka")
    with composed.client() as client, timed("another volume"):
        create(client, "next")
        landed = land_all(client, "next", scene)
        # A call whose answer was lost is made again, and finds its chunk written.
        assert landed.keys() <= {"written", "unchanged"} and sum(landed.values()) == CHUNKS
        assert client.wait("next").failed_count == 0
    assert composed.hashes("next") == composed.hashes("cell")
