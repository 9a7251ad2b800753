"""The contrast of a source: `auto` follows from what was imaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.app.design import parse_contrast
from fibstream.core.errors import WrongUse
from fibstream.volumes.sources import Source, open_volume


def source_of(folder: Path, volume: NDArray[Any]) -> Source:
    np.save(folder / "raw.npy", volume)
    return open_volume(str(folder / "raw.npy"), kind="raw", voxel_size_nm=(10, 10, 10))


def aligned_stack() -> NDArray[np.uint16]:
    """Slices of 20,000 to 22,499 in a black frame that differs from slice to slice."""
    inside = np.random.default_rng(4).integers(20_000, 22_500, (70, 60, 80)).astype(np.uint16)
    for z, one in enumerate(inside):
        one[: 5 + z // 8] = 0
        one[:, -9 - z // 9 :] = 0
    return inside


def test_the_black_frame_of_an_aligned_stack_is_no_data(tmp_path: Path) -> None:
    stack = aligned_stack()
    imaged = stack[:64][stack[:64] > 0]
    expected = np.percentile(imaged, (0.5, 99.5), method="inverted_cdf")
    assert parse_contrast("auto", source_of(tmp_path, stack)) == tuple(expected)
    assert expected[0] > 20_000


def test_a_stack_of_padding_alone_has_no_contrast(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"no contrast in its first 3 slices, .* LOW,HIGH$"):
        parse_contrast("auto", source_of(tmp_path, np.zeros((3, 20, 20), np.uint8)))


@pytest.mark.parametrize("text", ["9,1", "nan,1", "0,inf", "-1e300,1e300", "0,1e16", "0,1e-310"])
def test_a_window_that_no_grey_value_can_be_mapped_by_is_refused(tmp_path: Path, text: str) -> None:
    source = source_of(tmp_path, aligned_stack())
    with pytest.raises(WrongUse, match=rf"^--contrast {text}: expected finite LOW below HIGH,"):
        parse_contrast(text, source)
    assert parse_contrast(f"{-(2**52)},{2**52}", source) == (-(2.0**52), 2.0**52)


def test_nor_is_one_that_was_found(tmp_path: Path) -> None:
    values = np.random.default_rng(5).uniform(1e20, 3e20, (4, 20, 20)).astype(np.float32)
    with pytest.raises(WrongUse, match=r"raw.npy: its contrast: expected finite LOW below HIGH"):
        parse_contrast("auto", source_of(tmp_path, values))
