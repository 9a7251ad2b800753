"""A servicer of analysis, a dataset below its root, and a stub that calls it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.servicer import AnalysisServicer

from .cell import Cell, Stub, serving


@pytest.fixture(scope="package")
def servicer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnalysisServicer]:
    """One for all tests: the process that runs SQL takes half a second to start."""
    made = AnalysisServicer(Root(str(tmp_path_factory.mktemp("root"))), Settings.model_validate({}))
    yield made
    made.close()


@pytest.fixture
def root(servicer: AnalysisServicer, tmp_path: Path) -> Root:
    servicer._root = Root(str(tmp_path))
    servicer._root.make("cell")
    return servicer._root


@pytest.fixture
def cell(root: Root) -> Iterator[Cell]:
    made = Cell(root)
    yield made
    made.bus.close()


@pytest.fixture
def stub(servicer: AnalysisServicer) -> Iterator[Stub]:
    with serving(servicer) as stub:
        yield stub
