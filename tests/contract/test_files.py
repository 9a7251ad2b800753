"""The stores of files of fibstream under the suite that every store must pass."""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fibstream.bus.memory import MemoryFiles
from fibstream.store.local import PRIVATE, LocalFiles
from fibstream.store.remote import TAIL_BYTES, RemoteFiles, open_files
from fibstream.testing.files import FilesTests

from ..support.s3 import BUCKET, Weed, environment, moto

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def memory_server():
    with moto() as server:
        server.bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def disk_server():
    server = Weed()
    try:
        server.start()
        yield server
    finally:
        server.close()


def kept(make):
    """Return the same files for the same name: they are of this process."""
    made: dict[str, Any] = {}
    return lambda name: made.setdefault(name, make(name))


class TestMemoryFiles(FilesTests):
    @pytest.fixture
    def connect(self):
        return kept(lambda _: MemoryFiles())


class TestLocalFiles(FilesTests):
    private = PRIVATE

    @pytest.fixture
    def connect(self, tmp_path):
        def connect(name):
            (tmp_path / name).mkdir(exist_ok=True)
            return LocalFiles(tmp_path / name)

        return connect


class Remote(FilesTests):
    """An object store: it holds nothing open, and each answer takes a request."""

    holds = False
    private = PRIVATE
    block = TAIL_BYTES
    machine = settings(
        FilesTests.machine, max_examples=8, stateful_step_count=30,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


class TestRemoteFilesInMemory(Remote):
    @pytest.fixture
    def connect(self):
        return kept(lambda name: RemoteFiles({"driver": "memory", "path": f"{name}/"}, "memory"))


class TestRemoteFilesInAFolder(Remote):
    @pytest.fixture
    def connect(self, tmp_path):
        return lambda name: RemoteFiles({"driver": "file", "path": f"{tmp_path}/{name}/"}, "file")


class OnS3(Remote):
    by_content = True  # a generation is the ETag

    @pytest.fixture
    def connect(self, endpoint, monkeypatch):
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        number = next(NUMBERS)
        return lambda name: open_files(f"s3://{BUCKET}/folder/{number}/{name}.zarr")


class TestS3InMemory(OnS3):
    @pytest.fixture
    def endpoint(self, memory_server):
        return memory_server.endpoint


class TestS3OnDisk(OnS3):
    @pytest.fixture
    def endpoint(self, disk_server):
        return disk_server.endpoint
