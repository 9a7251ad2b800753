"""What cannot be a phantom is refused with its name and the expected form."""

from typing import Any

import pytest

from fibstream.core.errors import WrongUse
from fibstream.phantom import Look, PhantomSpec
from fibstream.phantom.spec import LOOKS, varied


@pytest.mark.parametrize(("given", "message"), [
    ({"shape": (0, 64, 64)}, "shape"), ({"shape": (64, 64)}, "shape"),
    ({"shape": (64, 64, 12_001)}, "at most 12000"), ({"shape": (10, 10, 10)}, "extent"),
    ({"voxel_size_nm": (0.0, 4.0, 4.0)}, "voxel size"),
    ({"voxel_size_nm": (float("nan"),) * 3}, "voxel"),
    ({"shape": (12_000,) * 3, "voxel_size_nm": (8.0,) * 3}, "extent"), ({"seed": -1}, "seed"),
    ({"organelles": ("liver",)}, "organelles"), ({"chunk": (1, 1, 513)}, "chunk"),
    ({"look": Look(missing=(64,))}, "missing slices"),
])  # fmt: skip
def test_a_wrong_specification(given: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        PhantomSpec(**{"shape": (64, 64, 64), **given})


@pytest.mark.parametrize(("given", "message"), [
    ({"dark": 210.0}, "dark"), ({"bright": 256.0}, "bright"), ({"gamma": 0.0}, "gamma"),
    ({"shot": -1.0}, "shot"), ({"blur_nm": (4.0, 4.0, 101.0)}, "blur_nm"),
    ({"jitter": 17.0}, "jitter"),
    ({"grain_nm": 1.0}, "grain_nm"), ({"drift": float("nan")}, "drift"),
])  # fmt: skip
def test_a_wrong_look(given: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        Look(**given)


def test_random_looks_are_looks_and_differ() -> None:
    looks = [varied(seed) for seed in range(300)]
    assert len({*looks, varied(2**63 - 1)}) == 301 and varied(7) == looks[7]
    for name in ("dark", "bright", "gamma", "grain", "grain_nm", "cloud", "shot"):
        drawn = sorted(getattr(look, name) for look in looks)
        for fitted in LOOKS.values():
            assert drawn[0] < getattr(fitted, name) < drawn[-1], name
