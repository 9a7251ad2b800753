"""Files of a registration: read back to the bit, and a field that is as near as it says."""

from pathlib import Path

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.services.registration.edges.files import (
    FIELD_ERROR_NM,
    read_transform,
    write_field,
    write_transform,
)
from fibstream.services.registration.port import Image

from .test_transform import inside, made


@pytest.mark.parametrize("name", ["t.h5", "t.tfm"])
def test_a_transform_is_read_back_to_the_bit(name: str, tmp_path: Path) -> None:
    transform = made(3)
    write_transform(tmp_path / name, transform)
    points = inside(transform, np.random.default_rng(1))
    found = read_transform(tmp_path / name)
    assert np.array_equal(found.to_light(points), transform.to_light(points))


def test_what_is_no_transform_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.h5").write_bytes(b"abc")
    for name, why in (("t.h5", "no ITK transform"), ("none.h5", "no such file")):
        with pytest.raises(WrongUse, match=why) as raised:
            read_transform(tmp_path / name)
        assert "\n" not in str(raised.value)
    with pytest.raises(WrongUse, match="cannot be written"):
        write_transform(tmp_path / "folder/t.h5", made(3))


@pytest.mark.parametrize("strength", [5.0, 120.0])
def test_a_field_of_a_strong_warp_has_more_nodes(strength: float, tmp_path: Path) -> None:
    import zarr

    transform = made(3, strength)
    specimen = Image(np.zeros((30, 40, 50), np.uint8), (64.0, 64.0, 64.0), (200.0, 300.0, 500.0))
    assert 0 < write_field(tmp_path, transform, specimen) <= FIELD_ERROR_NM
    nodes = np.asarray(zarr.open_array(tmp_path / "displacements/s0", mode="r")).shape
    assert (nodes[1] == 5) == (strength < 100)
