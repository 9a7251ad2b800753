"""The table that the demo prints names how many of its rows are shown."""

from fibstream.cli.demo import ROWS, head, shown

ROW = {
    "id": 1, "voxels": 2, "volume_nm3": 3e9, "area_nm2": 4e6, "centroid_z_nm": 5.0,
    "centroid_y_nm": 6.0, "centroid_x_nm": 7.0, "touches_border": False,
}  # fmt: skip


def test_rows_that_are_left_out_are_counted() -> None:
    assert "volume µm³" in head([]) and "area µm²" in head([])
    assert shown(ROWS) == "8" and len(head([ROW] * ROWS).splitlines()) == 1 + ROWS
    assert shown(ROWS + 5) == "the largest 8 of 13"
    assert len(head([ROW] * (ROWS + 5)).splitlines()) == 1 + ROWS
