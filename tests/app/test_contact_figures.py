"""Pictures of contacts: what is shown of many objects, and that each number is there."""

import pyarrow as pa

from fibstream.app.contact_figures import gaps, matrix


def pairs(rows: dict[tuple[int, int], float]) -> pa.Table:
    a, b = (pa.array(ids, pa.uint64()) for ids in zip(*rows, strict=True))
    areas = pa.array(list(rows.values()), pa.float64())
    return pa.table({"id_a": a, "id_b": b, "area_a_nm2": areas, "area_b_nm2": areas})


def test_a_matrix_has_each_number_at_its_objects() -> None:
    axes = matrix(pairs({(5, 9): 1e6, (2, 9): 3e6, (2, 7): 5e5}), ("er", "mito")).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["2", "5"]  # by area, the most first
    assert [t.get_text() for t in axes.get_xticklabels()] == ["9", "7"]
    found = {t.get_position(): t.get_text() for t in axes.texts}
    assert found == {(0, 0): "6", (0, 1): "2", (1, 0): "1"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("er: 2 of 2", "mito: 2 of 2")


def test_of_many_objects_those_with_the_most_area_are_shown() -> None:
    axes = matrix(pairs({(2**63 + n, 1): float(n) for n in range(1, 31)}), ("a", "b")).axes[0]
    assert axes.get_ylabel() == "a: 20 of 30"
    assert [t.get_text() for t in axes.get_yticklabels()][:2] == ["no. 1", "no. 2"]
    assert next(t.get_text() for t in axes.texts) == "6e-05"


def test_gaps_are_counted_by_their_voxels() -> None:
    axes = gaps(pa.table({"gap_nm": [4.0, 8.0], "voxels": [3, 40]})).axes[0]
    assert sum(p.get_height() for p in axes.patches) == 43
    assert max(p.get_height() for p in axes.patches) == 40
