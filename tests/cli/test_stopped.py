"""Ctrl-C is one line; only a command that goes on says so."""

import pytest

from fibstream.cli.app import INTERRUPTED, settings
from fibstream.cli.commands import single, streaming

from ..support.command import inside


@pytest.mark.parametrize(
    ("words", "module", "line"),
    [
        (("run", "--raw", "r.tif", "--pipeline", "p.yaml", "--out", "o.zarr"), streaming,
         "fibstream: stopped; the same call again goes on\n"),
        (("predict", "--raw", "r.tif", "--model", "mito", "--out", "o.zarr"), single,
         "fibstream: stopped\n"),
    ],
)  # fmt: skip
def test_a_stop_is_one_line(
    words: tuple[str, ...], module: object, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(**_: object) -> None:
        settings()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "settings", stopped)
    answer = inside(*words)
    assert (answer.code, answer.err) == (INTERRUPTED, line)
