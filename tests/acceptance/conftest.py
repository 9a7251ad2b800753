"""The acquisition that all acceptance tests share, and one finished run of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.command import inside
from ..support.scene import Scene, blobs, make_scene, whole


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="session")
def finished(scene: Scene) -> Path:
    """A finished dataset with a log of its own; nobody may change it."""
    out = scene.folder / "finished.zarr"
    assert inside(*scene.run(out, "--bus", "memory:")).code == 0
    assert inside("verify", out, "--rebuild").code == 0
    return out


@pytest.fixture(scope="session")
def truth(finished: Path) -> tuple[str, str]:
    """The hashes of labels and tables of the whole volume computed as one block."""
    return whole(blobs(), finished)


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Callable[[], Path]:
    """Make a copy of the finished dataset that a test may change."""

    def make() -> Path:
        return Path(shutil.copytree(finished, tmp_path / "copy.zarr"))

    return make
