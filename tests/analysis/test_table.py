"""The published table: exact cells, exact bytes."""

import io
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.core.stage import Arrays, Patch
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.profiles.cosem import HEADER, cosem_csv
from fibstream.services.analysis.table import finish, rows_hash, to_csv, to_parquet
from fibstream.services.analysis.totals import merge

BIG = 2**62 + 1  # a float would lose its last bit


def total_of(labels: NDArray[Any], raw: NDArray[Any] | None = None) -> Arrays:
    box = Box((0, 0, 0), labels.shape)
    return merge([measure(Patch(labels, box), box, raw)])


def two_objects() -> NDArray[np.uint64]:
    labels = np.zeros((3, 4, 5), np.uint64)
    labels[1, 1, 1:4] = BIG
    labels[0, 0, 0] = 1
    return labels


@pytest.fixture
def table() -> pa.Table:
    raw = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    return finish(total_of(two_objects(), raw), (3, 2, 0.5), raw=True)


PLAIN = (
    "id", "voxels", "volume_nm3", "area_nm2",
    *(f"centroid_{axis}_nm" for axis in "zyx"),
    *(f"{bound}_{axis}" for bound in ("min", "max") for axis in "zyx"),
    "touches_border", "raw_mean",
)  # fmt: skip


def test_columns_types_and_values(table: pa.Table) -> None:
    types = {field.name: str(field.type) for field in table.schema}
    assert types.pop("id") == "uint64"
    assert types.pop("touches_border") == "bool"
    whole = {name for name, kind in types.items() if kind == "int64"}
    assert whole == {
        "voxels", *(f"{bound}_{axis}" for bound in ("min", "max") for axis in "zyx"),
        "euler_6", "euler_26", "genus", "raw_min", "raw_max",
        *(f"raw_p{p}" for p in (5, 25, 50, 75, 95)),
    }  # fmt: skip
    assert {types[name] for name in types.keys() - whole} == {"double"}
    small, big = (tuple(row[name] for name in PLAIN) for row in table.to_pylist())
    # faces of 3, 2 x 0.5 nm voxels: 1 nm2 across z, 1.5 across y, 6 across x
    assert small == (1, 1, 3.0, 8.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, True, 0.0)
    assert big == (BIG, 3, 9.0, 27.0, 3.0, 2.0, 1.0, 1, 1, 1, 1, 1, 3, False, 27.0)


def test_each_axis_has_its_own_face_area() -> None:
    labels = np.zeros((5, 5, 5), np.uint64)
    labels[1, 1:3, 1:4] = 7  # 12 faces across z, 6 across y, 4 across x
    (row,) = finish(total_of(labels), (3, 2, 0.5)).to_pylist()
    areas = [12 * 2 * 0.5, 6 * 3 * 0.5, 4 * 3 * 2]
    assert [row[f"face_area_{axis}_nm2"] for axis in "zyx"] == areas
    assert row["area_nm2"] == sum(areas)
    assert row["border_area_nm2"] == 0


def test_faces_on_the_border_of_the_volume_have_a_column_of_their_own() -> None:
    """An object over the whole volume has no surface but the border's, and no sphericity."""
    (row,) = finish(total_of(np.full((2, 3, 5), 2**63, np.uint64)), (3, 2, 0.5)).to_pylist()
    assert row["id"] == 2**63
    assert row["border_area_nm2"] == 2 * (15 * 2 * 0.5 + 10 * 3 * 0.5 + 6 * 3 * 2)
    assert [row[name] for name in ("area_nm2", "crofton_area_nm2", "sphericity")] == [0, 0, 0]
    assert (row["touches_border"], row["genus"], row["euler_6"]) == (True, 0, 1)


def test_without_intensities_there_is_no_mean() -> None:
    assert "raw_mean" not in finish(total_of(two_objects()), (1, 1, 1)).column_names


def test_floats_are_exact_rationals_rounded_once() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 60, (15, 16, 17), np.uint64)
    size = [Fraction(32, 10), Fraction(354, 100), Fraction(1, 10)]
    for row in finish(total_of(labels), (3.2, 3.54, 0.1)).to_pylist():
        where = np.argwhere(labels == row["id"]).tolist()
        volume = len(where) * size[0] * size[1] * size[2]
        assert row["volume_nm3"] == float(volume)
        for axis, name in enumerate("zyx"):
            mean = Fraction(sum(w[axis] for w in where), len(where)) * size[axis]
            assert row[f"centroid_{name}_nm"] == float(mean)
        with localcontext(prec=60):  # and float(Fraction) is the rounding that decimal does
            assert row["volume_nm3"] == float(Decimal(volume.numerator) / volume.denominator)


@pytest.mark.parametrize("size", [(1, 1), (1, 1, 0), (1, 1, -4.0), (1, float("nan"), 1)])
def test_a_voxel_size_that_is_none_is_wrong_use(size: Sequence[float]) -> None:
    with pytest.raises(WrongUse, match="expected three positive numbers"):
        finish(total_of(two_objects()), size)


def test_parquet_keeps_ids_and_metadata_and_is_the_same_twice(table: pa.Table) -> None:
    data = to_parquet(table, {"organelle": "mito", "chunk": "64"})
    back = pq.read_table(io.BytesIO(data))
    assert back.column("id").to_pylist() == [1, BIG]
    assert back.schema.metadata == {b"chunk": b"64", b"organelle": b"mito"}
    assert back.replace_schema_metadata(None).equals(table)
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert to_parquet(pieces, {"chunk": "64", "organelle": "mito"}) == data


def test_csv_character_for_character(table: pa.Table) -> None:
    assert to_csv(table.select(PLAIN)).decode() == (
        "id,voxels,volume_nm3,area_nm2,centroid_z_nm,centroid_y_nm,centroid_x_nm,"
        "min_z,min_y,min_x,max_z,max_y,max_x,touches_border,raw_mean\n"
        "1,1,3.0,8.5,0.0,0.0,0.0,0,0,0,0,0,0,true,0.0\n"
        "4611686018427387905,3,9.0,27.0,3.0,2.0,1.0,1,1,1,1,1,3,false,27.0\n"
    )


def test_cosem_csv_character_for_character(table: pa.Table) -> None:
    assert cosem_csv(table, (3, 2, 0.5), (7, 8, 9)).decode() == (
        "Object ID,Volume (nm^3),Surface Area (nm^2),COM X (nm),COM Y (nm),COM Z (nm),"
        "MIN X (nm),MIN Y (nm),MIN Z (nm),MAX X (nm),MAX Y (nm),MAX Z (nm),,Total Objects\n"
        "1,3.0,8.5,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,,2\n"
        "4611686018427387905,9.0,27.0,1.0,2.0,3.0,0.5,2.0,3.0,1.5,2.0,3.0,,\n"
    )


def test_a_volume_without_objects_has_a_table_of_headers() -> None:
    empty = finish(total_of(np.zeros((2, 2, 2), np.uint64)), (1, 1, 1))
    assert empty.schema == finish(total_of(two_objects()), (1, 1, 1)).schema
    assert to_csv(empty).count(b"\n") == 1
    assert cosem_csv(empty, (1, 1, 1), (0, 0, 0)).decode() == HEADER + "\n"
    assert pq.read_table(io.BytesIO(to_parquet(empty, {}))).num_rows == 0
    assert rows_hash(empty) == rows_hash(empty.slice(0))


def test_the_hash_knows_rows_only(table: pa.Table) -> None:
    golden = "d28e874b99a7b20068ed52c2784d2463e797773f182ead73c5bb5b042cbe7eff"
    table = table.select(PLAIN)
    assert rows_hash(table) == golden
    shuffled = pa.concat_tables([table.slice(1), table.slice(0, 1)])
    assert rows_hash(shuffled.select(table.column_names[::-1])) == golden
    assert rows_hash(pq.read_table(io.BytesIO(to_parquet(table, {"a": "b"})))) == golden


def test_the_hash_sees_every_cell_name_and_type(table: pa.Table) -> None:
    hashes = {rows_hash(table), rows_hash(table.slice(1))}
    for place, field in enumerate(table.schema):
        values = table.column(place).to_numpy()
        other = ~values if values.dtype == bool else values + values.dtype.type(1)
        hashes.add(rows_hash(table.set_column(place, field.name, pa.array(other))))
        wider = table.append_column(f"{field.name}_", table.column(place))
        hashes.add(rows_hash(wider))
    hashes.add(rows_hash(table.set_column(1, "voxels", table.column(1).cast(pa.uint64()))))
    assert len(hashes) == 2 + 2 * table.num_columns + 1
