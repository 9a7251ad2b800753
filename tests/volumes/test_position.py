"""Where an array lies, from each kind of metadata; what cannot be read is not taken for nothing."""

from typing import Any

import pytest

from fibstream.volumes.positions import NOWHERE, Position
from fibstream.volumes.zarr_n5.axes import ArrayMetadata, ParentGroup
from fibstream.volumes.zarr_n5.position import position_of


def found(
    attributes: dict[str, Any], group: dict[str, Any] | None = None, *, x_first: bool = True,
    path: str = "s0", axes: tuple[str, ...] | None = None,
) -> Position | None:  # fmt: skip
    parents = [] if group is None else [ParentGroup(path, group)]
    return position_of(ArrayMetadata("v", attributes, parents, 3, None, x_first), axes)


def image(steps: list[Any], whole: list[Any], names: str = "zyx") -> dict[str, Any]:
    """Return a group with one level, and transformations of the level and of the image."""
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in names]
    levels = [{"path": "s0", "coordinateTransformations": steps}]
    return {"multiscales": [{"axes": axes, "datasets": levels, "coordinateTransformations": whole}]}


def scale(*numbers: float) -> dict[str, Any]:
    return {"type": "scale", "scale": list(numbers)}


def shift(*numbers: float) -> dict[str, Any]:
    return {"type": "translation", "translation": list(numbers)}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (image([scale(8, 4, 4)], []), (0, 0, 0)),
        (image([scale(8, 4, 4), shift(80, 2, 0)], []), (10, 0.5, 0)),
        # In micrometres, or by a scale of the image, it is the same number of voxels.
        (image([scale(8, 4, 4), shift(80, 2, 0)], [scale(0.001, 0.001, 0.001)]), (10, 0.5, 0)),
        (image([scale(8, 4, 4), shift(80, 2, 0)], [shift(8, 4, 4)]), (11, 1.5, 1)),
        (image([scale(2, 2, 2), shift(2, 0, 0)], [scale(4, 2, 2), shift(8, 0, 0)]), (2, 0, 0)),
        (image([scale(4, 4, 8), shift(0, 2, 80)], [], "xyz"), (10, 0.5, 0)),
        (image([{"type": "identity"}, scale(8, 4, 4)], []), (0, 0, 0)),
        (image([shift(8, 4, 4)], []), None),  # no scale
        (image([scale(8, 4), shift(8, 4, 4)], []), None),
        (image([{"type": "affine", "affine": []}, scale(8, 4, 4)], []), None),
        (image([scale(8, 4, 0)], []), None),
    ],
)
def test_ngff(group: dict[str, Any], expected: tuple[float, float, float] | None) -> None:
    place = found({}, group, x_first=False)
    assert place == (None if expected is None else Position(expected))


def test_openorganelle() -> None:
    transform = {"axes": ["x", "y", "z"], "scale": [4, 4, 8], "translate": [0, 2, 80]}
    assert found({"transform": transform}) == Position((10, 0.5, 0))
    levels = [{"path": "s0", "transform": transform | {"translate": [4, 0, 8]}}]
    assert found({"transform": transform}, {"multiscales": [{"datasets": levels}]}) == Position(
        (1, 0, 1)
    )
    assert found({"transform": {"axes": ["x", "y", "z"], "scale": [4, 4, 8]}}) is None


def test_offsets_are_corners_in_the_order_of_the_resolution() -> None:
    stated: dict[str, Any] = {"resolution": [2, 4, 8], "offset": [2, 8, 24]}
    assert found(stated) == Position((3, 2, 1), corner=True)
    assert found(stated, x_first=False) == Position((1, 2, 3), corner=True)
    pixels = {"pixelResolution": {"dimensions": [2, 4, 8], "unit": "um"}, "offset": [2, 8, 24]}
    for x_first in (True, False):  # x first in either store
        assert found(pixels, x_first=x_first) == Position((3, 2, 1), corner=True)
    assert found({}, stated) == Position((3, 2, 1), corner=True)  # of the group of s0
    assert found({}, stated, path="s1") is None
    assert found(stated, axes=("x", "y", "z"), x_first=False) == Position((3, 2, 1), corner=True)
    assert found({"resolution": [2, 4, 8]}) is None


@pytest.mark.parametrize(
    "stated",
    [{"offset": [8, 8, 8]}, {"offset": [8, 8], "resolution": [8, 8, 8]},
     {"offset": 8, "resolution": [8, 8, 8]}, {"offset": [8, 8, 8], "resolution": [8, 0, 8]},
     {"offset": ["8", 8, 8], "resolution": [8, 8, 8]}],
)  # fmt: skip
def test_an_offset_that_cannot_be_read_is_no_origin(stated: dict[str, Any]) -> None:
    assert found(stated) is NOWHERE
