"""The one promise: labels and tables are those of the whole volume, however they were made."""

import pyarrow.parquet as pq
import pytest

from ..support.command import apart, inside
from ..support.scene import CHUNK, blobs, save, whole


def test_the_scene_is_worth_the_name(finished) -> None:
    for organelle in ("generic", "mito"):
        table = pq.read_table(finished / "tables" / f"{organelle}.parquet").to_pylist()
        inner = [row for row in table if not row["touches_border"]]
        edges = list(zip("zyx", CHUNK, strict=True))
        cut = [r for r in table if any(r[f"min_{a}"] < e <= r[f"max_{a}"] for a, e in edges)]
        assert len(table) == 9 and len(inner) == 6 and len(cut) >= 2


@pytest.mark.parametrize(
    ("chunk", "more"),
    [
        ("36,44,52", []),
        ("16,16,16", ["--order", "random", "--seed", "1", "--workers", "2"]),
        ("17,13,19", ["--order", "slab", "--seed", "2"]),
        ("12,40,26", ["--order", "slab", "--seed", "3", "--workers", "2"]),
        ("20,24,28", ["--order", "random", "--seed", "4"]),
        ("3,44,52", ["--order", "random", "--seed", "5"]),  # halos wider than the chunk
    ],
)
def test_any_chunk_order_and_number_of_workers_gives_the_same(
    scene, truth, tmp_path, chunk, more
) -> None:
    answer = inside(*scene.run(tmp_path / "a.zarr", "--bus", "memory:", "--chunk", chunk, *more))
    assert answer.code == 0
    assert answer.report["failed"] == []
    assert answer.hashes == truth


def test_a_finished_run_again_computes_nothing(scene, truth, copy) -> None:
    answer = apart(*scene.run(copy()))
    assert (answer.code, answer.hashes) == (0, truth)
    assert answer.report["chunks_computed"] == 0
    assert answer.report["chunks_reused"] == 8 * 8 + 2  # of chunks, and two tables


def test_another_noise_gives_other_hashes(scene, truth, tmp_path) -> None:
    """The hashes can tell results apart: equal ones above mean something."""
    raw = save(tmp_path / "other.npz", blobs(seed=6))
    answer = inside(*scene.run(tmp_path / "b.zarr", "--bus", "memory:", raw=raw))
    assert answer.hashes == whole(blobs(seed=6), tmp_path / "b.zarr")
    assert all(a != b for a, b in zip(answer.hashes, truth, strict=True))
