"""A server in memory that counts and misbehaves, one on disk, and the way to them."""

from collections.abc import Iterator

import pytest

from ..support.s3 import BUCKET, Moto, Weed, environment, moto


@pytest.fixture(scope="session")
def server() -> Iterator[Moto]:
    with moto() as running:
        yield running


@pytest.fixture
def s3(server: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    """An empty bucket on the server in memory, to which the environment points."""
    server.bucket(BUCKET)
    for name, value in environment(server.endpoint).items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def weed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Weed]:
    """A server on disk, to which the environment points."""
    running = Weed()
    try:
        running.start()
        for name, value in environment(running.endpoint).items():
            monkeypatch.setenv(name, value)
        yield running
    finally:
        running.close()
