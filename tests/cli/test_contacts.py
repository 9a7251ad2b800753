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
    for name in ("contacts.csv", "matrix.csv", "gaps.csv"):
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
        (("--profile", "x"), "--profile x: expected cosem"),
    ):
        answer = contacts(a, b, tmp_path / "no.zarr", *more)
        assert answer.code == 2 and says in answer.err, answer.err
        assert not (tmp_path / "no.zarr").exists()
