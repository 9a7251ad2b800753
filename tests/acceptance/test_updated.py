"""`fibstream update` of a folder: what follows from the difference, and nothing else."""

from pathlib import Path

import pytest

from ..support.command import inside
from ..support.scene import Scene

SECOND = """\
models: [{model}]
organelles:
  - {{recipe: mito, set: {{min_volume_nm3: 2.0e4}}}}
  - {{name: fine, recipe: generic, set: {{threshold_nm: 4, min_volume_nm3: 0}}}}
"""


@pytest.fixture(scope="module")
def dataset(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two organelles, whose source is gone."""
    out = tmp_path_factory.mktemp("updated") / "cell.zarr"
    answer = inside(*scene.run(out, "--bus", "memory:"))
    assert answer.code == 0, answer.err
    return out


def update(out: Path, pipeline: Path, *more: object):
    return inside("update", out, "--pipeline", pipeline, "--json", *more)


def landed(out: Path) -> dict[Path, int]:
    """Return when each shard of raw and of predictions was written."""
    shards = [*out.glob("raw/s*/c/**/*"), *out.glob("predictions/*/s*/c/**/*")]
    found = {path: path.stat().st_mtime_ns for path in shards if path.is_file()}
    assert len(found) >= 16
    return found


def test_an_updated_folder_is_that_of_a_fresh_run(
    dataset: Path, scene: Scene, tmp_path: Path
) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(SECOND.format(model=scene.model))
    fresh = inside(*scene.run(tmp_path / "b.zarr", "--bus", "memory:", pipeline=second))
    assert fresh.code == 0, fresh.err
    before = landed(dataset)
    done = update(dataset, second)
    assert done.code == 0, done.err
    assert done.hashes == fresh.hashes
    # fragments, labels and measures of the new organelle in 8 chunks, and its table
    assert done.report["chunks_computed"] == 3 * 8 + 1, done.report
    assert landed(dataset) == before
    again = update(dataset, second)
    assert (again.code, again.report["chunks_computed"], again.hashes) == (0, 0, fresh.hashes)
    assert (dataset / "labels/generic").is_dir()  # of no stage now
    verified = inside("verify", dataset)
    assert verified.code == 0, verified.err


def test_what_cannot_be_made_changes_nothing(dataset: Path, scene: Scene, tmp_path: Path) -> None:
    record = (dataset / "provenance/dataset.json").read_bytes()
    given = tmp_path / "p.yaml"
    given.write_text(SECOND.format(model=scene.model) + "predictions: [{name: er, from: er.npz}]")
    answer = update(dataset, given)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "line 5: prediction er: an update lands nothing" in answer.err
    assert (dataset / "provenance/dataset.json").read_bytes() == record


def test_a_folder_that_has_not_landed_or_that_services_look_after_is_refused(
    dataset: Path, scene: Scene, tmp_path: Path
) -> None:
    (dataset.parent / "catalogue").mkdir()
    entry = dataset.parent / "catalogue/cell"
    entry.touch()
    answer = update(dataset, scene.pipeline)
    entry.unlink()
    assert answer.code == 2
    assert "running services look after it; expected its name, cell, and --server" in answer.err
    (dataset / "raw/s0/c/0/0/1").rename(tmp_path / "chunk")
    answer = update(dataset, scene.pipeline)
    (tmp_path / "chunk").rename(dataset / "raw/s0/c/0/0/1")
    assert answer.code == 2
    assert "raw has not landed as a whole; fibstream run with --out" in answer.err
