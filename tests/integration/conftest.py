"""Running services on both kinds of bus, and the acquisition that is landed in them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fibstream.cli.landing import land_volume
from fibstream.client import Client

from ..support.broker import broker  # noqa: F401
from ..support.cluster import Cluster
from ..support.scene import PIPELINE, SHAPE, VOXEL_NM, Scene, blobs, make_scene, whole

Start = Callable[..., Cluster]


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(params=["sqlite", "kafka"])
def bus(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    return f"kafka://{request.getfixturevalue('broker').servers}"


@pytest.fixture
def start(tmp_path: Path, scene: Scene) -> Iterator[Start]:
    """Start all services on a bus, with the scene's network below their root."""
    made = []

    def begin(bus: str | None = None, *more: str) -> Cluster:
        cluster = Cluster(tmp_path, bus, *more)
        models = cluster.root / "models"
        models.mkdir(exist_ok=True)
        (models / "bright.onnx").write_bytes(scene.model.read_bytes())
        made.append(cluster)
        return cluster.start()

    yield begin
    for cluster in made:
        cluster.close()


def create(client: Client, name: str, chunk=(16, 16, 16), z: int | None = SHAPE[0], **more) -> None:
    """Make a dataset for the scene's volume."""
    client.create(
        name, (z, *SHAPE[1:]), voxel_size_nm=(VOXEL_NM,) * 3, chunk=chunk,
        pipeline=PIPELINE.format(model="bright"), **more,
    )  # fmt: skip


def land_all(client: Client, name: str, scene: Scene, **more) -> dict[str, int]:
    """Land the whole scene."""
    given = {"order": "random", "seed": 3, "limit": None, "seal": True, **more}
    return land_volume(client, name, str(scene.raw), **given)


def truth_of(cluster: Cluster, name: str) -> tuple[str, str]:
    """Return the hashes that the scene must have, computed as one block."""
    return whole(blobs(), cluster.root / f"{name}.zarr")
