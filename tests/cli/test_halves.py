"""`fibstream halves`: the files of a prediction and of labels, against a truth of the same grid."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image

from ..support.command import Answer, inside
from .test_evaluate import ngff

SHAPE = (20, 24, 28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves")
    depth = np.linspace(-90, 90, SHAPE[0])[:, None, None] + np.zeros(SHAPE)
    with zarr.config.set({"array.write_empty_chunks": True}):  # else each process warns once
        ngff(folder / "truth.zarr", (depth > 0).astype(np.uint8), size=8)
        ngff(folder / "p.zarr", np.clip(depth + 137, 0, 255).astype(np.uint8), size=8)
        ngff(folder / "labels.zarr", (depth > 20).astype(np.uint16), size=8)
        ngff(folder / "small.zarr", np.ones((4, 4, 4), np.uint16), size=8)
    return folder


def halves(folder: Path, out: Path, *more: object, truth: str = "truth.zarr") -> Answer:
    return inside("halves", "--truth", folder / truth, "--out", out, *more)


def test_deviations_are_of_both_and_of_the_halves(folder: Path, tmp_path: Path) -> None:
    both = "--prediction", folder / "p.zarr", "--labels", folder / "labels.zarr"
    answer = halves(folder, tmp_path, *both)
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "halves.csv", "halves.parquet", "halves.png",
    ]  # fmt: skip
    assert (np.asarray(Image.open(tmp_path / "halves.png").convert("L")) < 128).any()
    found = {(r["half"], r["test"]): r for r in pq.read_table(tmp_path / "halves.parquet")
             .to_pylist() if r["measure"] == "volume_nm3"}  # fmt: skip
    planes = {key: row["value"] / (24 * 28 * 512) for key, row in found.items() if key[0] == "all"}
    assert planes == {("all", "raw"): 11, ("all", "refined"): 8}
    assert found["z low", "raw"]["deviation"] is None
    assert {found[half, "refined"]["deviation"] for half in ("z high", "x low")} == {-0.2}
    answer = halves(folder, tmp_path, *both, "--threshold", 160)
    rows = pq.read_table(tmp_path / "halves.parquet").to_pylist()
    (row,) = [
        r for r in rows if (r["half"], r["test"], r["measure"]) == ("all", "raw", "volume_nm3")
    ]
    assert row["value"] / (24 * 28 * 512) < 9


def test_what_cannot_be_compared_is_named(folder: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "out", ("--labels", folder / "labels.zarr")
    for more, says in (
        ((), "give --prediction, --labels"), ((*labels, "--threshold", 0), "--threshold 0"),
        (("--labels", folder / "small.zarr"), "--truth"),
        ((*labels, "--prediction", folder / "small.zarr"), "small.zarr"),
    ):  # fmt: skip
        answer = halves(folder, out, *more)
        assert answer.code == 2 and says in answer.err and not out.exists(), answer.err


def test_a_truth_without_anything_is_told(folder: Path, tmp_path: Path) -> None:
    with zarr.config.set({"array.write_empty_chunks": True}):
        ngff(folder / "nothing.zarr", np.zeros(SHAPE, np.uint8), size=8)
    labels = "--labels", folder / "labels.zarr"
    answer = halves(folder, tmp_path, *labels, truth="nothing.zarr")
    assert answer.code == 0 and "nothing is inside: no deviation is known" in answer.err
    assert "nothing is inside" not in halves(folder, tmp_path, *labels).err
