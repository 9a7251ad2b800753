"""What ``verify`` says of what is gone or not made yet: never that it is intact, however often."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibstream.bus import wire
from fibstream.core.dataset import RECORD
from fibstream.core.keys import canonical
from fibstream.runtime.root import bus_path
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..support.command import Answer, inside
from ..support.scene import Scene
from ..support.services import bus_of, rerun

RAW = ["raw/s0/c/0/1/0", "raw/s0/c/1/0/1"]
TABLE = "tables/mito.parquet"


def remove_log(out: Path) -> None:
    bus_path(out).unlink()


def forget(out: Path) -> None:
    """Empty the ledger, as a broker does that lost a log."""
    with bus_of(out) as bus:
        bus.clear(wire.ledger_topics())


def remove_raw(out: Path) -> None:
    for path in RAW:
        (out / path).unlink()


def remove_all_raw(out: Path) -> None:
    shutil.rmtree(out / "raw/s0/c")


def remove_tables(out: Path) -> None:
    for path in (out / "tables").iterdir():
        path.unlink()


def remove_arrays(out: Path) -> None:
    for name in ("predictions", "fragments", "summaries", "labels"):
        shutil.rmtree(out / name)


def remove_measures(out: Path) -> None:
    for path in (out / "summaries/measures").rglob("0.1.0"):
        path.unlink()


LOSSES: dict[str, list[Callable[[Path], None]]] = {
    "raw": [remove_raw],
    "all of raw": [remove_all_raw],
    "tables": [remove_tables],
    "raw and the log": [remove_raw, remove_log],
    "tables and the log": [remove_tables, remove_log],
    "tables and the ledger": [remove_tables, forget],
    "tables, what they are made of and the log": [remove_measures, remove_tables, remove_log],
    "all that is computed": [remove_arrays, remove_tables],
    "everything": [
        lambda out: shutil.rmtree(out / "raw"),
        remove_arrays,
        remove_tables,
        remove_log,
    ],
}


def said(out: Path, *more: str) -> Answer:
    """Ask, and check that nothing lost is called intact, nor a hash printed."""
    answer = inside("verify", out, "--hash", *more)
    assert answer.code == 1
    assert "intact" not in answer.out + answer.err
    assert not any(line.startswith(("labels ", "tables ")) for line in answer.out.splitlines())
    return answer


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_gone_is_gone_each_time_it_is_asked(copy: Callable[[], Path], loss: str) -> None:
    out = copy()
    for lose in LOSSES[loss]:
        lose(out)
    first = said(out)
    assert said(out) == first
    assert said(out, "--rebuild") == first == said(out)
    lines = first.out.splitlines()
    if "raw" in loss and "all of" not in loss:
        assert {f"damaged: raw chunk {path[9:].replace('/', ',')}" for path in RAW} <= set(lines)
    if loss.startswith("tables"):
        assert "damaged: tables/mito whole" in lines
        assert not any(line.startswith("not there yet") for line in lines)
    if loss == "everything":
        assert "not there yet: raw: 8 of 8" in lines
        assert "outputs are not there yet" in first.err


@pytest.mark.parametrize("loss", ["raw", "tables and the log"])
def test_the_next_run_makes_whole_what_was_gone(
    scene: Scene, copy: Callable[[], Path], truth: tuple[str, str], loss: str
) -> None:
    out = copy()
    for lose in LOSSES[loss]:
        lose(out)
    said(out)
    report, _ = rerun(out, scene.raw)
    assert (report.labels_hash, report.tables_hash) == truth
    answer = inside("verify", out, "--hash")
    assert answer.code == 0
    assert answer.out.splitlines()[:2] == [f"labels {truth[0]}", f"tables {truth[1]}"]


@pytest.mark.parametrize(
    "path", [*RAW[:1], "labels/mito/s0/c/1/0/1", "summaries/fragments/mito/0.0.0"]
)
def test_a_folder_where_a_file_belongs_is_named_and_replaced(
    scene: Scene, copy: Callable[[], Path], truth: tuple[str, str], path: str
) -> None:
    out = copy()
    (out / path).unlink()
    (out / path).mkdir()
    (out / path / "note.txt").write_text("mine")
    first = said(out)
    (line,) = (line for line in first.out.splitlines() if line.startswith("damaged: "))
    assert said(out) == first
    assert path.split("/", maxsplit=1)[0].removeprefix("summaries") in line
    report, _ = rerun(out, scene.raw)
    assert (report.labels_hash, report.tables_hash) == truth
    assert inside("verify", out).code == 0


def test_a_run_that_was_never_finished_is_told_apart(
    scene: Scene, copy: Callable[[], Path]
) -> None:
    out = copy()
    for lose in LOSSES["everything"]:
        lose(out)
    rerun(out, scene.raw, chunks=5)
    answer = said(out)
    assert "damaged" not in answer.out + answer.err
    assert "not there yet: raw: 3 of 8" in answer.out.splitlines()
    assert "not finished: " in answer.err


def test_outputs_of_earlier_settings_are_not_those_of_the_dataset(copy: Callable[[], Path]) -> None:
    """As after `fibstream update`, or a run with other settings that was stopped at once."""
    out = copy()
    files = LocalFiles(out)
    dataset = read_dataset(files)
    changed = dataset.model_dump(mode="json")
    (mito,) = (each for each in changed["organelles"] if each["name"] == "mito")
    mito["settings"]["min_volume_nm3"] *= 20
    before = json.loads(inside("status", out, "--json").out)
    assert before["stages"]["labels/mito"] == 8
    assert before["outdated"] == {}
    files.put(RECORD, canonical(changed))
    after = json.loads(inside("status", out, "--json").out)
    assert after["outdated"]["tables/mito"] == 1 and after["stages"]["tables/mito"] == 0
    assert after["outdated"]["labels/mito"] + after["stages"]["labels/mito"] == 8
    assert "of earlier settings" in inside("status", out).out
    query = inside("query", "SELECT id FROM mito", "--dataset", out)
    assert "not complete: labels/mito is not done everywhere" in query.err
    answer = said(out)
    assert "earlier settings" in answer.err
    assert any(line.startswith("outdated: labels/mito: ") for line in answer.out.splitlines())
    assert "generic" not in answer.out


def test_an_open_dataset_is_measured_by_what_has_landed(copy: Callable[[], Path]) -> None:
    out = copy()
    files = LocalFiles(out)
    record: dict[str, Any] = read_dataset(files).model_dump(mode="json")
    record["shape"][0] = None
    files.put(RECORD, canonical(record))
    answer = said(out)
    assert "not finished: the dataset is not sealed" in answer.err
    # The border that the seal had made is no more: the last layer is made anew when it comes.
    assert "outdated: labels/mito: 4 of 8" in answer.out.splitlines()
    assert all(line.startswith("outdated: ") for line in answer.out.splitlines())
    (mito,) = (each for each in record["organelles"] if each["name"] == "mito")
    mito["settings"]["smooth_nm"] = 24
    files.put(RECORD, canonical(record))
    lines = said(out).out.splitlines()
    assert {"outdated: labels/mito: 8 of 8", "outdated: tables/mito: 1 of 1"} <= set(lines)
    assert "outdated: labels/generic: 4 of 8" in lines
    remove_raw(out)
    for log in (True, False):
        if not log:
            remove_log(out)
        lost = said(out)
        assert said(out) == lost
        assert [line for line in lost.out.splitlines() if "raw chunk" in line] == [
            "damaged: raw chunk 0,1,0", "damaged: raw chunk 1,0,1"
        ]  # fmt: skip


def test_files_of_others_among_chunks_are_no_chunks(copy: Callable[[], Path]) -> None:
    out = copy()
    (out / "raw/s0/c/.DS_Store").write_bytes(b"x")
    (out / "raw/s0/c/0/1/.nfs0001").write_bytes(b"x")
    os.utime(out / "raw")
    assert inside("verify", out).code == 0
