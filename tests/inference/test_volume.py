"""What volume a client may send: limits and windows, exact at their ends."""

import pytest

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.services.inference.volume import MAX_VOXELS, VolumeSpec, check

from ..support.engines import TinyEngine

MODEL = TinyEngine().spec
Window = tuple[float, float] | None


def volume(z: int = 8, window: Window = None) -> VolumeSpec:
    return VolumeSpec((z, 256, 256), "uint8", (8, 8, 8), window, False)


def test_a_volume_of_the_largest_size_is_taken() -> None:
    assert check(volume(MAX_VOXELS >> 16), MODEL) == (0, 255)
    with pytest.raises(LimitExceeded, match=f"at most {MAX_VOXELS} voxels"):
        check(volume((MAX_VOXELS >> 16) + 1), MODEL)


@pytest.mark.parametrize("window", [(3.0, 3.0), (3.0, 2.0)])
def test_a_window_has_two_ends(window: Window) -> None:
    with pytest.raises(WrongUse, match="expected finite LOW below HIGH"):
        check(volume(window=window), MODEL)
    assert check(volume(window=(3.0, 3.5)), MODEL) == (3.0, 3.5)
