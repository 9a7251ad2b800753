"""What a run prints at its end: hashes name a whole result, or nothing does."""

from pathlib import Path

import pytest
import typer

from fibstream.cli.commands.streaming import finish_run
from fibstream.cli.run import Report


def test_hashes_are_printed_of_a_whole_result_alone(capsys: pytest.CaptureFixture[str]) -> None:
    whole = Report(3, 1, [], "a" * 64, "b" * 64, 1.0)
    finish_run(whole, as_json=False, out=Path("x"))
    assert capsys.readouterr().out.splitlines()[1:] == [f"labels {'a' * 64}", f"tables {'b' * 64}"]
    item = {"stage": "prediction/x", "chunk": [0, 0, 0], "reason": "not finite"}
    for as_json in (False, True):
        with pytest.raises(typer.Exit):
            finish_run(Report(3, 1, [item]), as_json=as_json, out=Path("x"))
        out = capsys.readouterr().out
        assert len(out.splitlines()) == 1 and ('"labels_hash": null' in out) is as_json
