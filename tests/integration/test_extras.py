"""Each service runs with its own extra alone, as in its image: no command, no foreign packages."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..support import extras
from ..support.cluster import Cluster
from ..support.scene import Scene
from .conftest import create, land_all, truth_of

PACKAGES = {
    "ingest": "tifffile",
    "inference": "onnxruntime",
    "refine": "numba",
    "analysis": "duckdb",
    "registration": "SimpleITK",
}


class Images(Cluster):
    """The services, each as ``python -m fibstream.services.NAME serve`` with its own extra."""

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-m", f"fibstream.services.{name}", "serve"]

    def variables(self, name: str) -> dict[str, str]:
        return extras.environment(self.root.parent, name)


@pytest.mark.parametrize("extra", PACKAGES)
def test_only_the_packages_of_the_extra_can_be_imported(tmp_path: Path, extra: str) -> None:
    more = extras.environment(tmp_path, extra)
    code = "import importlib, sys; importlib.import_module(sys.argv[1])"

    def importing(package: str) -> bool:
        line = [sys.executable, "-c", code, package]
        return subprocess.run(line, env=more, check=False, capture_output=True).returncode == 0

    assert importing(PACKAGES[extra])
    assert not importing("typer")
    if extra in ("refine", "analysis"):
        assert not importing("onnx")


def test_services_with_their_own_extras_give_the_whole_volumes_hashes(
    tmp_path: Path, scene: Scene
) -> None:
    cluster = Images(tmp_path)
    (cluster.root / "models").mkdir()
    (cluster.root / "models" / "bright.onnx").write_bytes(scene.model.read_bytes())
    try:
        cluster.start()
        with cluster.client() as client:
            create(client, "cell", chunk=(20, 24, 28))
            land_all(client, "cell", scene)
            assert client.wait("cell").failed_count == 0
            assert client.query("cell", "SELECT count(*) AS n FROM mito").to_pylist()[0]["n"] > 0
            assert cluster.hashes("cell") == truth_of(cluster, "cell")
        assert set(cluster.stop().values()) == {0}
    finally:
        cluster.close()
