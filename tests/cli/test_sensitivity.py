"""`fibstream sensitivity`: what it says of a threshold is what a run with this threshold makes."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fibstream.app.cells.shifts import FIGURES
from fibstream.app.cells.totals import totals
from fibstream.app.engines import make_engine
from fibstream.app.reference import absent_of, labels_of, prediction_of, table_of
from fibstream.services.refine.recipes.generic import rule_of
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..support.command import inside
from ..support.scene import Scene, blobs, make_scene, save

MASKED = """\
  - name: outside
    recipe: masked
    from: {{prediction: mito, mask: generic}}
    set: {{threshold_nm: {outside}}}
"""
SHIFTS = ["none", "-1 grey level", "+1 grey level", "-4 nm", "+4 nm"]
ABSENT = "--absent-value", 0


def pipeline(scene: Scene, name: str, outside: float, mito: float) -> Path:
    """Write the scene's pipeline with a masked organelle, and thresholds."""
    text = scene.pipeline.read_text().replace("2.0e4}", f"2.0e4, threshold_nm: {mito!r}}}")
    path = scene.folder / name
    path.write_text(text + MASKED.format(outside=repr(outside)))
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A finished run, of which a corner was never imaged, through an object."""
    made = make_scene(tmp_path_factory.mktemp("scene"))
    raw = blobs()
    raw[:, :14, :14] = 0
    save(made.raw, raw)
    run(made, "cell.zarr", pipeline(made, "own.yaml", -20.0, 2.0))
    return made


def run(scene: Scene, name: str, pipeline: Path) -> Path:
    out = scene.folder / name
    answer = inside(*scene.run(out, "--bus", "memory:", *ABSENT, pipeline=pipeline))
    assert answer.code == 0, answer.err
    return out


@pytest.fixture(scope="module")
def found(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, dict[str, Any]]:
    """The rows by organelle and shift."""
    out = tmp_path_factory.mktemp("out")
    answer = inside("sensitivity", scene.folder / "cell.zarr", "--out", out)
    assert answer.code == 0, answer.err
    assert sorted(p.name for p in out.iterdir()) == [
        "sensitivity.csv", "sensitivity.parquet", "sensitivity.png",
    ]  # fmt: skip
    assert (np.asarray(Image.open(out / "sensitivity.png").convert("L")) < 128).any()
    rows = pq.read_table(out / "sensitivity.parquet").to_pylist()
    assert [(r["organelle"], r["shift"]) for r in rows] == [
        (name, shift) for name in ("generic", "mito", "outside") for shift in SHIFTS
    ]
    return {(r["organelle"], r["shift"]): r for r in rows}


def figures(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("border_objects", *FIGURES)}


def test_all_shifts_are_those_of_the_whole_volume(scene: Scene, found: Any) -> None:
    out = scene.folder / "cell.zarr"
    dataset = read_dataset(LocalFiles(out))
    raw = np.load(scene.raw)["raw"]
    engine = make_engine(out / dataset.models[0].path, 1)
    prediction, absent = prediction_of(raw, dataset, engine)[0], absent_of(raw, dataset)
    for organelle in dataset.organelles[:2]:
        seen = set()
        for shift in SHIFTS:
            row = found[organelle.name, shift]
            settings = {**organelle.settings, "threshold_nm": row["threshold_nm"]}
            rule = rule_of(dataset, organelle.model_copy(update={"settings": settings}))
            assert rule.level == row["grey_level"] * 128
            table = table_of(labels_of(prediction, rule, absent), raw, dataset.voxel_size_nm)
            (whole,) = totals("cell", {organelle.name: table}, None)
            assert figures(row) == figures(whole), (organelle.name, shift)
            seen.add(row["volume_nm3"])
        assert len(seen) == 5


def test_a_run_with_a_threshold_makes_what_was_said(scene: Scene, found: Any) -> None:
    shifted = {"mito": "+1 grey level", "outside": "-4 nm"}
    thresholds = {name: found[name, shift]["threshold_nm"] for name, shift in shifted.items()}
    assert thresholds["outside"] == -24
    out = run(scene, "other.zarr", pipeline(scene, "other.yaml", **thresholds))
    for name, shift in shifted.items():
        table = pq.read_table(out / f"tables/{name}.parquet")
        (whole,) = totals("cell", {name: table}, None)
        assert figures(found[name, shift]) == figures(whole)
        assert figures(found[name, "none"]) != figures(whole)


def test_an_organelle_that_is_named_twice_is_made_once(scene: Scene, tmp_path: Path) -> None:
    twice = ("--organelle", "mito") * 2
    answer = inside("sensitivity", scene.folder / "cell.zarr", "--out", tmp_path, *twice)
    assert answer.code == 0, answer.err
    rows = pq.read_table(tmp_path / "sensitivity.parquet").to_pylist()
    assert [row["shift"] for row in rows] == SHIFTS


def test_wrong_names_are_refused(scene: Scene, tmp_path: Path) -> None:
    for path, flag, says in (
        (scene.folder / "cell.zarr", "er", "--organelle er: "), (tmp_path, "mito", "not a dataset"),
    ):  # fmt: skip
        answer = inside("sensitivity", path, "--out", tmp_path / "out", "--organelle", flag)
        assert answer.code == 2 and says in answer.err and not (tmp_path / "out").exists()
