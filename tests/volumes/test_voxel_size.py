"""Whatever stands in attributes, the answer is a size, a reason, or one line."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.volumes.display import Display, display_of
from fibstream.volumes.zarr_n5.axes import ArrayMetadata, ParentGroup
from fibstream.volumes.zarr_n5.voxel_size import describe

WORDS = (
    "ome", "multiscales", "datasets", "path", "axes", "name", "unit", "units", "scale", "order",
    "type", "coordinateTransformations", "transform", "pixelResolution", "resolution", "dimensions",
    "downsamplingFactors", "scales", "_ARRAY_DIMENSIONS", "omero", "channels", "window", "start",
    "end", "inverted", "contrastAdjustment", "min", "max",
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.floats(), st.sampled_from(["s0", "zyx", "nm"]),
    st.sampled_from([["z", "y", "x"], [8.0, 4.0, 5.0], ["nm"] * 3, [{"type": "scale"}]]),
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=12,
)
ATTRIBUTES = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=5)


@settings(deadline=None)
@given(ATTRIBUTES, ATTRIBUTES, st.booleans(), st.integers(0, 5), JSON)
def test_any_attributes_are_a_size_or_a_line(
    own: dict[str, Any], group: dict[str, Any], x_first: bool, dimensions: int, names: Any
) -> None:
    array = ArrayMetadata("v", own, [ParentGroup("s0", group)], dimensions, names, x_first)
    try:
        found = describe(array)
    except (WrongUse, ValueError) as error:
        assert "\n" not in str(error)
        assert "expected" in str(error)
        return
    size = found.lengths.size_nm
    assert size is None or (len(size) == 3 and all(0 < edge < float("inf") for edge in size))
    assert found.axes is None or len(found.axes) == dimensions
    assert isinstance(display_of([own, group]), Display)


def test_a_level_of_another_path_states_nothing_of_the_array() -> None:
    level: dict[str, Any] = {
        "path": "s1",
        "transform": {"axes": ["z", "y", "x"], "units": ["nm"] * 3},
    }
    level["transform"]["scale"] = [8, 4, 5]
    group = {"multiscales": [{"datasets": [level]}]}
    listed = ArrayMetadata("v", {}, [ParentGroup("s1", group)], 3, None, True)
    other = ArrayMetadata("v", {}, [ParentGroup("s0", group)], 3, None, True)
    assert describe(listed).lengths.size_nm == (8, 4, 5)
    assert describe(other).lengths.size_nm is None
