"""Damage to any stored object of any stage is named by ``verify`` and repaired by the next run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fibstream.runtime.root import bus_path
from fibstream.store.local import PRIVATE

from ..support.command import apart, inside
from ..support.services import rerun

# An object of each kind, and the stage output that it belongs to.
OBJECTS = {
    "raw/s0/c/0/1/0": "raw chunk 0,1,0",
    "raw/s1/c/1/0/1": "pyramid/raw chunk 1,0,1",
    "predictions/mito/s0/c/0/0/1": "prediction/bright chunk 0,0,1",
    "predictions/mito/s1/c/1/1/0": "prediction/bright chunk 1,1,0",
    "fragments/mito/s0/c/0/1/1": "fragments/mito chunk 0,1,1",
    "summaries/fragments/generic/0.0.0": "fragments/generic chunk 0,0,0",
    "labels/generic/s0/c/0/1/0": "labels/generic chunk 0,1,0",
    "labels/mito/s0/c/1/0/1": "labels/mito chunk 1,0,1",
    "labels/mito/s1/c/0/0/0": "labels/mito chunk 0,0,0",
    "summaries/measures/mito/1.1.1": "measures/mito chunk 1,1,1",
    "tables/generic.parquet": "tables/generic whole",
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path: Path) -> None:
    path.unlink()


DAMAGE: dict[str, Callable[[Path], None]] = {"flip": flip, "cut": cut, "remove": remove}


def damaged(out: Path) -> set[str]:
    """Return what ``verify`` calls damaged; with anything damaged it must exit with 1."""
    answer = inside("verify", out)
    lines = [line for line in answer.out.splitlines() if line.startswith("damaged: ")]
    assert answer.code == (1 if lines else 0), answer
    return {line.removeprefix("damaged: ") for line in lines}


@pytest.mark.parametrize("path", OBJECTS)
def test_one_flipped_byte_is_named_and_repaired(scene, truth, copy, path) -> None:
    out = copy()
    flip(out / path)
    assert damaged(out) == {OBJECTS[path]}
    report, _ = rerun(out, scene.raw)
    assert (report.labels_hash, report.tables_hash, report.failed) == (*truth, [])
    assert damaged(out) == set()


@pytest.mark.parametrize("kind", ["cut", "remove"])
def test_other_damage_is_named_and_repaired(scene, truth, copy, kind) -> None:
    out = copy()
    for path in OBJECTS:
        DAMAGE[kind](out / path)
    assert damaged(out) == set(OBJECTS.values())
    report, _ = rerun(out, scene.raw)
    assert (report.labels_hash, report.tables_hash, report.failed) == (*truth, [])
    assert damaged(out) == set()


def test_a_run_repairs_what_nobody_verified(scene, truth, copy) -> None:
    """What is gone or has lost its stamp is found by the run itself."""
    out = copy()
    for path in OBJECTS:
        cut(out / path)
    answer = apart(*scene.run(out))
    assert (answer.code, answer.hashes) == (0, truth), answer.err
    assert damaged(out) == set()


def test_the_log_can_be_written_anew_from_the_stamps(scene, truth, copy) -> None:
    out = copy()
    shutil.rmtree(out / PRIVATE)
    answer = inside("verify", out, "--rebuild", "--hash")
    assert answer.code == 0
    assert answer.out.splitlines()[:2] == [f"labels {truth[0]}", f"tables {truth[1]}"]
    report, computed = rerun(out, scene.raw)
    assert (report.labels_hash, report.tables_hash) == truth
    assert computed == set()


def test_a_log_written_anew_leaves_out_what_is_damaged(scene, truth, copy) -> None:
    out = copy()
    flip(out / "labels/mito/s0/c/1/0/1")
    bus_path(out).unlink()
    assert inside("verify", out, "--rebuild").code == 1
    report, computed = rerun(out, scene.raw)
    assert (report.labels_hash, report.tables_hash) == truth
    assert computed == {("labels/mito", (1, 0, 1))}
