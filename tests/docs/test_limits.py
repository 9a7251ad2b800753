"""Files and functions keep to their length limits."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    p
    for f in (
        "fibstream",
        "kernels",
        "volumes",
        "services",
        "app",
        "cli",
        "phantom",
        "bench",
        "deploy",
        ".ci",
    )
    for p in (ROOT / f).rglob("*.py")
    if p.parent.name != "v1"  # generated
]
FUNCTION, MODULE = 70, 400  # lines; docstrings are not counted in functions


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield every function with its length in lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[0]
            in_docstring = 0
            if ast.get_docstring(node) is not None:
                assert first.end_lineno is not None
                in_docstring = first.end_lineno - first.lineno + 1
            yield node.name, node.end_lineno - node.lineno + 1 - in_docstring


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lengths(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= MODULE
    assert [found for found in functions(ast.parse(source)) if found[1] > FUNCTION] == []
