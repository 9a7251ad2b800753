"""Columns of both sides of contacts: of one organelle, of two, and without boundary voxels."""

import numpy as np
import pyarrow as pa
import pytest

from fibstream.core.stage import Arrays
from fibstream.kernels.near import footprint, lengths_nm
from fibstream.services.analysis.sites import Common, sum_sites, with_sites


def rows(*given: tuple[int, int, int, int, int, tuple[int, int, int]]) -> Arrays:
    names, types = ("id", "side", "object", "rank", "voxels"), ("u8", "u1", "u8", "i4", "i8")
    found: Arrays = {
        name: np.array([row[n] for row in given], kind)
        for n, (name, kind) in enumerate(zip(names, types, strict=True))
    }
    return found | {"faces": np.array([row[5] for row in given], np.int64).reshape(-1, 3)}


def test_areas_and_gaps_of_both_sides() -> None:
    voxel = (8.0, 4.0, 2.0)
    parents = {5: (1, 2), 6: (1, 9)}
    parts = [
        rows((5, 0, 1, 1, 3, (1, 0, 0)), (5, 1, 2, 2, 1, (0, 1, 0)), (7, 0, 1, 0, 1, (9, 9, 9))),
        rows((5, 0, 1, 2, 1, (1, 0, 2))),
    ]
    sites = sum_sites(parts, parents, same=False)
    lengths = [0.0, 4.0, 9.0]
    table = with_sites(pa.table({"id": [5, 6]}), parents, sites, lengths, voxel)
    five, six = table.to_pylist()
    assert five == {
        "id": 5, "id_a": 1, "id_b": 2, "area_a_nm2": 2 * 4 * 2 + 2 * 8 * 4, "area_b_nm2": 8 * 2,
        "gap_min_nm": 4.0, "gap_mean_nm": (3 * 4 + 2 * 9) / 5,
    }  # fmt: skip
    assert (six["area_a_nm2"], six["area_b_nm2"], six["gap_min_nm"]) == (0, 0, None)
    assert {field.metadata[b"meaning"] != b"" for field in list(table.schema)[1:]} == {True}


def test_objects_of_one_organelle_are_told_apart_by_their_ids() -> None:
    part = rows((5, 0, 1, 1, 1, (1, 0, 0)), (5, 0, 2, 1, 1, (0, 0, 3)))
    (site,) = sum_sites([part], {5: (1, 2)}, same=True).values()
    assert site.faces == ([1, 0, 0], [0, 0, 3]) and site.gaps == {1: 2}


def test_lengths_are_those_of_the_steps() -> None:
    near, voxel = footprint(6, (4, 4, 8)), (4.0, 4.0, 8.0)
    lengths = lengths_nm(near, voxel)
    assert lengths == sorted(set(lengths)) and lengths[:2] == [0, 4]
    for step, rank in zip(near.steps, near.ranks, strict=True):
        assert lengths[rank] == pytest.approx(float(np.linalg.norm(step * voxel)))


def test_only_cells_of_which_both_are_known_count() -> None:
    one, other = {(0, 0, 0): rows(), (0, 0, 1): rows()}, {(0, 0, 1): rows(), (0, 0, 2): rows()}
    known = Common(one, other)
    assert list(known) == [(0, 0, 1)] and len(known) == 1 and (0, 0, 0) not in known
    with pytest.raises(KeyError):
        known[0, 0, 0]
