"""The dataset that the tests of the viewer only read, and services for the commands that call."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fibstream.registry import service
from fibstream.runtime.grpc import GrpcServer
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.services.ingest.edges.datasets import DatasetDesign, create

from ..support.wrong import CELL
from .viewing import make, predicted


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of which all chunks and the table are there."""
    return make(tmp_path_factory.mktemp("finished") / "cell.zarr")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """All calls of ingest and analysis in this process, and datasets that nothing landed in."""
    root = Root(str(tmp_path_factory.mktemp("served")))
    for dataset in (CELL, predicted()):
        create(root, DatasetDesign(dataset, {}, []))
    context = ServicerContext(root, Settings.model_validate({}))
    bindings = [service(name).servicer(context) for name in ("ingest", "analysis")]
    grpc_server = GrpcServer("127.0.0.1:0", bindings)
    grpc_server.open()
    yield ",".join(f"{name}=127.0.0.1:{grpc_server.port}" for name in ("ingest", "analysis"))
    grpc_server.close(grace_s=0)
    for each in bindings:
        getattr(each.servicer, "close", lambda: None)()
    root.close()
