"""A dataset without planners below a root, and a stub that calls the servicer of refine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fibstream.runtime.root import Root

from .cell import Cell, Stub, serving


@pytest.fixture
def root(tmp_path: Path) -> Root:
    made = Root(str(tmp_path))
    made.make("cell")
    return made


@pytest.fixture
def cell(root: Root) -> Iterator[Cell]:
    made = Cell(root, "generic", "mito")
    yield made
    made.bus.close()


@pytest.fixture
def stub(root: Root) -> Iterator[Stub]:
    with serving(root) as stub:
        yield stub
