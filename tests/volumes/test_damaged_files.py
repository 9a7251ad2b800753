"""Damaged files of every format are voxels or one line: 2,000 of them (more in bench)."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    assert f"{name} is not valid JSON" in read(str(tmp_path))


def test_damage_is_done() -> None:
    data = bytes(range(100))
    for what in ("set", "number", "flip", "cut", "remove", "repeat"):
        assert damaged(data, [(what, 7, 12_345, 2)]) != data, what
    assert damaged(b'{"a": 1}', [("json", 0, 400, 1)]) != b'{"a": 1}'
