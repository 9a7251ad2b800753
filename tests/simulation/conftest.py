"""Every schedule runs at the scale of the simulation."""

from collections.abc import Iterator

import pytest

from .scale import small_scale


@pytest.fixture(autouse=True)
def _scale() -> Iterator[None]:
    with small_scale():
        yield
