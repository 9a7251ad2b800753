"""Running services on both kinds of bus, and the acquisition that is landed in them."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fibstream.cli.landing import land_volume
from fibstream.client import Client
from fibstream.core.grid import Index

from ..support.broker import broker  # noqa: F401
from ..support.cluster import Cluster
from ..support.scene import PIPELINE, SHAPE, VOXEL_NM, Scene, blobs, make_scene, whole

Start = Callable[..., Cluster]
CHUNK = (16, 24, 28)  # 12 chunks: there is a middle, and a remainder on every axis
CHUNKS = 12


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module", params=["sqlite", "kafka"])
def bus(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    return f"kafka://{request.getfixturevalue('broker').servers}"


@pytest.fixture
def start(tmp_path: Path, scene: Scene) -> Iterator[Start]:
    """Start services of the test's own on a bus, with the scene's network below their root."""
    with contextlib.ExitStack() as stack:

        def begin(bus: str | None = None, *more: str) -> Cluster:
            return stack.enter_context(serving(tmp_path, scene, bus, *more))

        yield begin


@pytest.fixture(scope="module")
def shared(
    bus: str | None, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Services that tests of one file share: they take seconds to start. They end in good order."""
    with serving(tmp_path_factory.mktemp("services"), scene, bus) as cluster:
        yield cluster
        codes = cluster.stop()
    assert set(codes.values()) == {0}, codes


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The shared services, without any dataset; what a test makes is deleted after it."""
    yield shared
    with shared.client() as client:
        for name in client.datasets():
            client.delete(name)


@contextlib.contextmanager
def serving(folder: Path, scene: Scene, bus: str | None, *more: str) -> Iterator[Cluster]:
    """Run all services, with the scene's network below their root."""
    cluster = Cluster(folder, bus, *more)
    models = cluster.root / "models"
    models.mkdir(exist_ok=True)
    (models / "bright.onnx").write_bytes(scene.model.read_bytes())
    try:
        yield cluster.start()
    finally:
        cluster.close()


def create(
    client: Client, name: str, chunk: Index = CHUNK, z: int | None = SHAPE[0], **more: Any
) -> None:
    """Make a dataset for the scene's volume."""
    client.create(
        name, (z, *SHAPE[1:]), voxel_size_nm=(VOXEL_NM,) * 3, chunk=chunk,
        pipeline=PIPELINE.format(model="bright"), **more,
    )  # fmt: skip


def land_all(client: Client, name: str, scene: Scene, **more: Any) -> dict[str, int]:
    """Land the whole scene."""
    given = {"order": "random", "seed": 3, "limit": None, "seal": True, **more}
    return land_volume(client, name, str(scene.raw), **given)


def truth_of(cluster: Cluster, name: str) -> tuple[str, str]:
    """Return the hashes that the scene must have, computed as one block."""
    return whole(blobs(), cluster.root / f"{name}.zarr")
