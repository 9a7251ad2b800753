"""The dataset that the tests of the viewer only read."""

from pathlib import Path

import pytest

from .viewing import make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of which all chunks and the table are there."""
    return make(tmp_path_factory.mktemp("finished") / "cell.zarr")
