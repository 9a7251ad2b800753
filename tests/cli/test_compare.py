"""`fibstream compare` on runs that happened, and on folders of their tables."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ..support.command import Answer, inside
from ..support.scene import Scene, blobs, make_scene, save

ALONE = ["organelles.csv", "organelles.parquet", "organelles.png"]
SEVERAL = [f"{name}.{kind}" for name in ("effects", "objects", "organelles")
           for kind in ("csv", "parquet", "png")]  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Two runs of two organelles, and a folder of one table of the second."""
    made = make_scene(tmp_path_factory.mktemp("scene"))
    assert inside(*made.run(made.folder / "one.zarr", "--bus", "memory:")).code == 0
    two = save(made.folder / "two.npz", blobs(6))
    answer = inside(*made.run(made.folder / "two.zarr", "--bus", "memory:", raw=two))
    assert answer.code == 0, answer.err
    shutil.copytree(made.folder / "two.zarr/tables", made.folder / "tables")
    (made.folder / "tables/generic.parquet").unlink()
    return made


def compare(scene: Scene, out: Path, *names: object) -> Answer:
    paths = [scene.folder / str(n) if (scene.folder / str(n)).exists() else n for n in names]
    return inside("compare", *paths, "--out", out)


def table(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def test_a_dataset_alone_has_its_relative_volumes(scene: Scene, tmp_path: Path) -> None:
    answer = compare(scene, tmp_path / "out", "one.zarr")
    assert answer.code == 0 and "note" not in answer.err and "not" not in answer.err, answer.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ALONE
    rows = table(tmp_path / "out/organelles.parquet")
    assert [(r["dataset"], r["organelle"]) for r in rows] == [("one", "generic"), ("one", "mito")]
    for row in rows:
        objects = table(scene.folder / "one.zarr/tables" / f"{row['organelle']}.parquet")
        assert row["objects"] == len(objects) > 0
        assert row["reference"] == "imaged volume"
        voxels = sum(o["voxels"] for o in objects)
        assert row["relative_volume"] == pytest.approx(voxels / (36 * 44 * 52), rel=1e-12)
        assert row["objects_per_um3"] == pytest.approx(len(objects) / (36 * 44 * 52 * 512e-9))
    read = pa_csv.read_csv(tmp_path / "out/organelles.csv").to_pylist()
    assert [r["relative_volume"] for r in read] == [r["relative_volume"] for r in rows]
    image = np.asarray(Image.open(tmp_path / "out/organelles.png").convert("L"))
    assert (image < 128).mean() > 0.001


def test_the_volume_that_totals_are_part_of_may_be_named(scene: Scene, tmp_path: Path) -> None:
    both = [scene.folder / name for name in ("one.zarr", "tables")]
    answer = inside("compare", *both, "--out", tmp_path, "--within", "mito")
    assert answer.code == 0, answer.err
    rows = table(tmp_path / "organelles.parquet")
    assert [r["relative_volume"] == 1 for r in rows if r["organelle"] == "mito"] == [True, True]
    assert {r["reference"] for r in rows} == {"organelle mito"}
    for name, says in (("nope", "expected one of generic, mito"), ("", "expected one of generic")):
        answer = inside("compare", both[0], "--out", tmp_path / "no", "--within", name)
        assert answer.code == 2 and says in answer.err and not (tmp_path / "no").exists()


def test_datasets_are_compared_and_told_apart(scene: Scene, tmp_path: Path) -> None:
    answer = compare(scene, tmp_path / "out", "one.zarr", "two.zarr", "tables")
    assert answer.code == 0, answer.err
    assert "not the same: generic: is not in tables" in answer.err
    assert "mito: recipe: mito of prediction mito: " in answer.err
    assert "not recorded (tables)" in answer.err and "voxel size" not in answer.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == SEVERAL
    rows = table(tmp_path / "out/effects.parquet")
    assert {(r["a"], r["b"]) for r in rows} == {("one", "two"), ("one", "tables")}
    found = {(r["b"], r["organelle"], r["measure"]): r for r in rows if r["level"] == "objects"}
    same, apart = (found[name, "mito", "volume_nm3"] for name in ("two", "tables"))
    assert same["shift"] == apart["shift"] and "not" in same["assumes"]
    assert (same["differs"], apart["differs"]) == ("", "recipe, prediction, reference")
    assert ("tables", "generic", "volume_nm3") not in found


def test_groups_are_compared_by_their_datasets(scene: Scene, tmp_path: Path) -> None:
    names = ("one.zarr", "two.zarr", "tables")
    answer = compare(scene, tmp_path / "out", *names, "--group", "A=one,tables", "--group=B=two")
    assert answer.code == 0, answer.err
    rows = table(tmp_path / "out/effects.parquet")
    assert {(r["a"], r["b"], r["level"]) for r in rows} == {("A", "B", "datasets")}
    (row,) = [r for r in rows if (r["organelle"], r["measure"]) == ("mito", "volume_nm3")]
    assert (row["n_a"], row["n_b"]) == (2, 1)
    assert row["shift_low"] is None and -1 <= row["cliffs_delta"] <= 1
    for groups, says in (
        (["A=one"], "A=one: is alone"), (["A=one", "B=two"], "tables is in none"),
        (["A=one,two", "B=two,tables"], "B=two,tables: expected"), (["A=x", "B=one"], "A=x"),
        (["one", "B=two"], "one: expected NAME=DATASET"),
    ):  # fmt: skip
        flags = [f"--group={group}" for group in groups]
        answer = compare(scene, tmp_path / "no", *names, *flags)
        assert answer.code == 2 and says in answer.err, groups
        assert not (tmp_path / "no").exists()


def test_what_is_read_is_not_written_into(scene: Scene, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    shutil.copytree(scene.folder / "tables", tables)
    shutil.copy(tables / "mito.parquet", tables / "organelles.parquet")
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    one = scene.folder / "one.zarr"
    for command, read, out, says in (
        ("compare", tables, tables, "is read"),
        ("compare", one, one, "lies in a dataset"),
        ("compare", one, one / "tables/new", "lies in a dataset"),
        ("sensitivity", one, one, "lies in a dataset"),
    ):
        answer = inside(command, read, "--out", out)
        assert answer.code == 2 and f"--out {out}: {says}" in answer.err, answer.err
        assert answer.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == before
    assert not (one / "organelles.csv").exists() and not (one / "tables/new").exists()


def test_groups_are_refused_before_anything_is_read(scene: Scene, tmp_path: Path) -> None:
    answer = compare(scene, tmp_path / "no", "one.zarr", "two.zarr", "--group=A=one")
    assert answer.code == 2 and answer.err.count("\n") == 1, answer.err


def test_tables_alone_state_no_volume(scene: Scene, tmp_path: Path) -> None:
    answer = compare(scene, tmp_path / "out", "tables")
    assert answer.code == 0 and "no relative volume is known" in answer.err
    (row,) = table(tmp_path / "out/organelles.parquet")
    assert row["relative_volume"] is None and row["reference"] == "not known"
    assert row["volume_nm3"] > 0


def test_what_cannot_be_compared_is_named(scene: Scene, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    pq.write_table(pq.read_table(scene.folder / "tables/mito.parquet").select(["id"]),
                   other / "mito.parquet")  # fmt: skip
    text = tmp_path / "text"
    text.mkdir()
    (text / "mito.parquet").write_text("id,voxels")
    growing = tmp_path / "growing.zarr"
    shutil.copytree(scene.folder / "one.zarr", growing)
    (growing / "labels/mito/s0/c/0/0/0").unlink()
    for path, says in (
        (empty, "no tables *.parquet"), (tmp_path / "none", "no such folder"),
        (other, "has no column volume_nm3"), (text, "not a Parquet file"),
        (growing, "not finished: 1 of"), (scene.folder / "one.zarr", "given twice"),
    ):  # fmt: skip
        answer = inside("compare", scene.folder / "one.zarr", path, "--out", tmp_path / "out")
        assert answer.code == 2 and says in answer.err, path
        assert not (tmp_path / "out").exists()
