"""`fibstream contacts` on stored labels: the same for any chunks, and the paper's columns."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from fibstream.kernels.near import footprint
from fibstream.kernels.refined import refined_pairs

from ..kernels.test_contacts import drawn
from ..support.command import Answer, inside

SIZE = ("--voxel-size-nm", "4")
Ids = NDArray[Any]


def written(folder: Path) -> tuple[Path, Path]:
    a, b = folder / "a.tif", folder / "b.tif"
    for path, seed in ((a, 2), (b, 5)):
        tifffile.imwrite(path, drawn(seed, (12, 14, 18), 0.02, blobs=True).astype(np.uint16))
    return a, b


def contacts(a: Path, b: Path, out: Path, *more: object) -> Answer:
    return inside("contacts", "--a", a, "--b", b, "--distance-nm", 10, "--out", out, *SIZE, *more)


def scene(folder: Path) -> tuple[Path, Path, Path]:
    """Write two plates, balls of which half lie on one, and a mask that cuts off a corner."""
    a, b = np.zeros((2, 24, 30, 30), np.uint8)
    a[3:6, 2:28, 2:14], a[3:6, 2:28, 17:28] = 1, 2
    for n, (z, y, x) in enumerate(((6, 3, 3), (6, 10, 8), (14, 4, 20), (6, 20, 24)), 1):
        b[z : z + 4, y : y + 4, x : x + 4] = n
    mask = np.ones_like(a)
    mask[15:, 15:, 15:] = 0
    paths = folder / "plates.tif", folder / "balls.tif", folder / "cell.tif"
    for path, voxels in zip(paths, (a, b, mask), strict=True):
        tifffile.imwrite(path, voxels)
    return paths


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def sites(out: Path) -> Ids:
    return np.asarray(zarr.open_array(out / "contacts/a--b/s0", mode="r")[:])


def test_contacts_are_the_same_for_any_chunks(tmp_path: Path) -> None:
    a, b = written(tmp_path)
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    for out, chunk in ((one, "12,14,18"), (other, "5,14,7")):
        answer = contacts(a, b, out, "--chunk", chunk)
        assert answer.code == 0, answer.err
    labels = sites(one)
    assert np.array_equal(labels, sites(other))
    for name in ("contacts.csv", "matrix.csv", "gaps.csv", "matrix.png", "gaps.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    first, second = (tifffile.imread(path).astype(np.uint64) for path in (a, b))
    pairs = refined_pairs(first, second, footprint(10, (4, 4, 4)))
    assert np.array_equal(labels > 0, pairs[0] > 0)
    table = rows(one / "contacts.csv")
    assert sorted(int(row["id"]) for row in table) == np.unique(labels[labels > 0]).tolist()
    matrix = rows(one / "matrix.csv")
    assert sum(int(row["contacts"]) for row in matrix) == len(table)
    assert {(r["id_a"], r["id_b"]) for r in matrix} == {(r["id_a"], r["id_b"]) for r in table}
    assert sum(float(r["area_a_nm2"]) for r in matrix) == sum(float(r["area_a_nm2"]) for r in table)
    inside_both = sum(int((tifffile.imread(p)[labels > 0] > 0).sum()) for p in (a, b))
    assert sum(int(row["voxels"]) for row in rows(one / "gaps.csv")) == inside_both


def test_the_papers_columns(tmp_path: Path) -> None:
    a, b = written(tmp_path)
    assert contacts(a, b, tmp_path / "c.zarr", "--profile", "cosem").code == 0
    head, *lines = (tmp_path / "c.zarr/contacts.csv").read_text().splitlines()
    assert head.endswith(
        "MAX Z (nm),a ID,b ID,a Surface Area (nm^2),b Surface Area (nm^2),,Total Objects"
    )
    assert lines[0].endswith(f",,{len(lines)}")
    assert {line.count(",") for line in lines} == {head.count(",")}


def test_objects_of_one_volume_and_wrong_calls(tmp_path: Path) -> None:
    a, b = written(tmp_path)
    answer = contacts(a, a, tmp_path / "same.zarr", "--kind", "naive")
    assert answer.code == 0, answer.err
    assert all(int(r["id_a"]) < int(r["id_b"]) for r in rows(tmp_path / "same.zarr/contacts.csv"))
    for more, says in (
        (("--kind", "best"), "--kind best: "),
        (("--loses", "c"), "loses 'c': expected one of two"),
        (("--distance-nm", "400"), "expected at most 124"),
        (("--profile", "x"), "--profile x: expected cosem or cellmap"),
    ):
        answer = contacts(a, b, tmp_path / "no.zarr", *more)
        assert answer.code == 2 and says in answer.err, answer.err
        assert not (tmp_path / "no.zarr").exists()


def test_contact_against_chance(tmp_path: Path) -> None:
    a, b, mask = scene(tmp_path)
    out, again = tmp_path / "c.zarr", tmp_path / "again.zarr"
    given = ("--null", 39, "--seed", 4, "--mask", mask)
    for path in (out, again):
        answer = contacts(a, b, path, *given)
        assert answer.code == 0 and "nowhere else" not in answer.err, answer.err
    for name in ("null.csv", "placements.csv", "null.png"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
    table = {row["measure"]: row for row in rows(out / "null.csv")}
    found = rows(out / "contacts.csv")
    observed = {name: float(row["observed"]) for name, row in table.items()}
    assert observed["contacts"] == len(found) == 3
    for side in "ab":
        assert observed[f"area_{side}_nm2"] == sum(float(r[f"area_{side}_nm2"]) for r in found)
        of = {"a": 2, "b": 4}[side]
        assert observed[f"share_{side}"] == len({r[f"id_{side}"] for r in found}) / of
    drawn_ = [float(row["contacts"]) for row in rows(out / "placements.csv")]
    assert len(drawn_) == 39 and len(set(drawn_)) > 1
    more = sum(n >= 3 for n in drawn_)
    assert float(table["contacts"]["p_more"]) == (1 + more) / 40 < 0.2
    assert float(table["contacts"]["ratio"]) == 3 / float(np.mean(drawn_)) > 1


def test_chance_of_one_volume_and_of_none(tmp_path: Path) -> None:
    a, b, _ = scene(tmp_path)
    answer = contacts(b, b, tmp_path / "same.zarr", "--null", 20)
    assert answer.code == 0, answer.err
    assert [r["measure"] for r in rows(tmp_path / "same.zarr/null.csv")] == [
        "contacts", "area_nm2", "share",
    ]  # fmt: skip
    tifffile.imwrite(a, np.ones((5, 30, 30), np.uint8))  # it has no other place
    tifffile.imwrite(b, np.zeros((5, 30, 30), np.uint8))
    answer = contacts(a, b, tmp_path / "none.zarr", "--null", 20)
    assert answer.code == 2 and "balls.tif has no object" in answer.err, answer.err
    assert not (tmp_path / "none.zarr").exists()
    answer = contacts(a, a, tmp_path / "still.zarr", "--null", 20)
    assert answer.code == 0 and "1 of 1 objects fit where they are and nowhere else" in answer.err


def test_what_chance_is_not_told(tmp_path: Path) -> None:
    a, b, mask = scene(tmp_path)
    for more, says in (
        (("--null", 5), "--null 5: expected 20 to 10000 placements"),
        (("--null", 20, "--seed", -1), "--seed -1: expected 0 to"),
        (("--null", 20, "--moves", "c"), "--moves c: expected one of a, b"),
        (("--null", 20, "--overlap", "--loses", "a"), "--overlap: expected two organelles and no"),
        (("--mask", mask), "--mask: expected with --null N alone"),
    ):
        answer = contacts(a, b, tmp_path / "no.zarr", *more)
        assert answer.code == 2 and says in answer.err, answer.err
        assert not (tmp_path / "no.zarr").exists()
    balls = tifffile.imread(b)
    every_other = np.indices(balls.shape).sum(axis=0) % 2
    for inside_it, says in (
        (balls % 2, "--null: objects of 256 voxels are to be placed; 128 are free"),
        (every_other.astype(balls.dtype), "--null: placement 1: object "),
    ):
        tifffile.imwrite(mask, inside_it)  # balls 2 and 4 lie outside, or half of each; none fits
        answer = contacts(a, b, tmp_path / "no.zarr", "--null", 20, "--mask", mask)
        assert answer.code == 2 and says in answer.err, answer.err
        assert "128 voxels of the objects lie outside" in answer.err
        assert not (tmp_path / "no.zarr").exists()


def test_overlap_with_the_other_side_is_told(tmp_path: Path) -> None:
    a, b, _ = scene(tmp_path)
    balls = tifffile.imread(b)
    balls[5, 3:7, 3:7] = 1
    tifffile.imwrite(b, balls)
    answer = contacts(a, b, tmp_path / "told.zarr", "--null", 20)
    assert answer.code == 0 and "16 voxels are of both organelles" in answer.err, answer.err
    for more in (("--loses", "b"), ("--overlap", "--moves", "a")):
        answer = contacts(a, b, tmp_path / f"{more[0][2:]}.zarr", "--null", 20, *more)
        assert answer.code == 0 and "of both organelles" not in answer.err, answer.err


def test_another_call_leaves_no_file_of_an_earlier_one(tmp_path: Path) -> None:
    a, b, _ = scene(tmp_path)
    out = tmp_path / "out.zarr"
    assert contacts(a, b, out, "--null", 20).code == 0
    assert (out / "null.csv").is_file()
    assert contacts(a, b, out).code == 0
    left = {path.name for path in out.iterdir()}
    assert "contacts.csv" in left and not left & {"null.csv", "null.png", "placements.csv"}


def test_files_that_are_of_no_contacts_stay(tmp_path: Path) -> None:
    a, b = written(tmp_path)
    out = tmp_path / "cell.zarr"
    zarr.create_group(out)
    (out / "contacts.parquet").write_bytes(b"truth")
    answer = contacts(a, b, out)
    assert answer.code == 2 and "holds another contacts.parquet" in answer.err, answer.err
    assert (out / "contacts.parquet").read_bytes() == b"truth"
