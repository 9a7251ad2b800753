"""Damaged files of every format are voxels or one line: 2,000 of them (more in bench)."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibstream.volumes.lengths import statement

from .fuzzing import FORMATS, Damage, check_law, damaged, damages, read

EXAMPLES = 200  # of each of ten formats


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_voxels_or_one_line(name: str, tmp_path: Path) -> None:
    form = FORMATS[name](tmp_path)
    assert read(f"{tmp_path}/{form.path}") == ""
    lines: set[str] = set()

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(number=st.integers(0, 10), damage=damages)
    def every(number: int, damage: list[Damage]) -> None:
        lines.add(check_law(tmp_path, form, number, damage))

    every()
    assert len(lines) > 3  # most damage is refused, for many reasons


@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zattrs", "attributes.json"])
def test_metadata_that_are_lists_within_lists_are_refused(name: str, tmp_path: Path) -> None:
    if name == ".zattrs":
        (tmp_path / ".zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / name).write_text('{"a": ' + "[" * 100_000)
    assert f"{name}: expected lists at most 64 deep" in read(str(tmp_path))


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ('{"a": ' + "9" * 45_000 + "}", "zarr.json: a number of 45000; expected at most 100"),
        ('{"a": 1, "a": 2}', "zarr.json: 'a' is given twice"),
        ('{"a": 1e999}', "zarr.json: 1e999 is no float64"),
        ('{"a": [1}', "zarr.json is not valid JSON"),
    ],
)
def test_metadata_that_no_reader_can_hold_are_refused(
    attributes: str, says: str, tmp_path: Path
) -> None:
    text = f'{{"zarr_format": 3, "node_type": "group", "attributes": {attributes}}}'
    (tmp_path / "zarr.json").write_text(text)
    assert says in read(str(tmp_path))


def test_what_python_writes_for_no_number_is_read(tmp_path: Path) -> None:
    text = '{"zarr_format": 3, "node_type": "group", "attributes": {"a": NaN, "b": -Infinity}}'
    (tmp_path / "zarr.json").write_text(text)
    assert "JSON" not in read(str(tmp_path))


@pytest.mark.parametrize("size", ["9" * 90, 10**90, "1e400", 10**400])
def test_a_size_beyond_all_numbers_is_no_size(size: object) -> None:
    found = statement("scale", [size, 1, 1], ["m", "nm", "nm"])
    assert found.size_nm is None or found.size_nm[0] > 1e90


def test_damage_is_done() -> None:
    data = bytes(range(100))
    for what in ("set", "number", "flip", "cut", "remove", "repeat"):
        assert damaged(data, [(what, 7, 12_345, 2)]) != data, what
    assert damaged(b'{"a": 1}', [("json", 0, 400, 1)]) != b'{"a": 1}'
