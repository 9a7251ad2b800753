"""A deletion that is not confirmed deletes nothing, and reports so in one line."""

import io

import pytest

from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import DatasetDesign, create

from ..support.command import inside
from ..support.programs import free_ports
from ..support.wrong import CELL, tree


@pytest.mark.parametrize(("typed", "code"), [("n\n", 1), ("\n", 1), ("", 130)])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_deletion_that_is_not_confirmed(tmp_path, monkeypatch, typed, code, by_name) -> None:
    root = Root(str(tmp_path))
    create(root, DatasetDesign(CELL, {}, []))
    root.close()
    before = tree(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    away = ["--server", f"127.0.0.1:{free_ports(1)[0]}"] if by_name else []  # never called
    target = "cell" if by_name else root.url_of("cell")
    answer = inside("delete", target, *away)
    assert (answer.code, answer.err) == (code, f"fibstream: {target}: nothing was deleted\n")
    assert answer.out.startswith("Delete dataset ") and tree(tmp_path) == before
