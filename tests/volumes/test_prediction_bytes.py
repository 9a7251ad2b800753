"""Predictions of COSEM's two byte scales have their surface at 127 when they are read."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.sources import Source
from fibstream.volumes.zarr_n5.prediction_bytes import holds_distances, squash_of, table_of

from .layouts import n5_array, n5_group, opened

BYTES = np.arange(256, dtype=np.uint8)
STATED = {"resolution": [4, 4, 4], "float_range": [-1, 1]}


def table_for(attributes: dict[str, Any]) -> NDArray[np.uint8]:
    """Return the table of a scale that is converted."""
    table = table_of(attributes, "p")
    assert table is not None
    return table


def stored(distance_nm: NDArray[Any], *, safe: bool) -> NDArray[np.uint8]:
    """COSEM's bytes, after the definition."""
    scale, shift = (127, 128) if safe else (128, 127)
    return np.clip(np.round(np.tanh(distance_nm / 50) * scale + shift), 0, 255).astype(np.uint8)


def test_the_other_scale_is_converted_within_one_level() -> None:
    distance_nm = np.linspace(-150, 150, 3001)
    ours, theirs = stored(distance_nm, safe=False), stored(distance_nm, safe=True)
    turned = table_for({"safe_scale": True})[theirs]
    # The lowest level is cut off in ours; two roundings are off by one level at most.
    assert np.abs(turned.astype(int) - ours).max() <= 1


def test_the_surface_stays_where_it_is() -> None:
    table = table_for({"float_range": [-1, 1], "safe_scale": 1})
    assert table.dtype == np.uint8
    assert [table[0], table[128], table[255]] == [0, 127, 255]
    np.testing.assert_array_equal(table >= 127, BYTES >= 128)
    assert (np.diff(table.astype(int)) >= 0).all()
    exact = [128 * (byte - 128) / 127 + 127 for byte in range(1, 256)]
    np.testing.assert_array_equal(table[1:], np.maximum(np.round(exact), 0))
    assert math.isclose(exact[0], -1)


@pytest.mark.parametrize("attributes", [{}, {"safe_scale": False}, {"float_range": [-1.0, 1.0]}])
def test_the_scale_of_fibstream_stays(attributes: dict[str, Any]) -> None:
    assert table_of(attributes, "p") is None


@pytest.mark.parametrize("span", [[0, 1], [0.0, 255.0], 1, "all", [-1]])
def test_what_is_no_distance_is_refused(span: object) -> None:
    with pytest.raises(WrongUse, match=r"p holds values of the float_range .*; expected"):
        table_of({"float_range": span}, "p")


@pytest.mark.parametrize("where", ["array", "group"])
@pytest.mark.parametrize("safe", [False, True])
def test_an_n5_prediction_is_read_on_the_scale_of_fibstream(
    where: str, safe: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attributes = STATED | {"safe_scale": safe}
    bytes_ = BYTES.reshape(4, 8, 8)
    n5_group(tmp_path / "mito", attributes if where == "group" else {})
    path = n5_array(
        tmp_path / "mito" / "s0", bytes_, {"type": "gzip", "level": 6},
        attributes=attributes if where == "array" else STATED,
    )  # fmt: skip
    expected = table_for(attributes)[bytes_] if safe else bytes_
    source = opened(path, kind="prediction")
    np.testing.assert_array_equal(source.fetch(whole(source)), expected)
    assert source.voxel_size_nm == (4, 4, 4)
    notes = [note for note in source.notes if "resolution has no unit" not in note]
    assert [("128 is the surface" in note) for note in notes] == [True] * safe
    assert len(caplog.records) == safe + 1
    # As raw, or as anything, bytes are bytes.
    np.testing.assert_array_equal(opened(path, kind="raw").read(whole(source)), bytes_)


@pytest.mark.parametrize("where", ["array", "group", "neither"])
def test_the_squash_length_is_that_of_the_array_or_its_group(where: str, tmp_path: Path) -> None:
    stated = {"array": {"squash_nm": 30}, "group": {}, "neither": {}}[where]
    n5_group(tmp_path / "mito", {"squash_nm": 30} if where == "group" else {})
    path = n5_array(
        tmp_path / "mito" / "s0", BYTES.reshape(4, 8, 8), {"type": "gzip", "level": 6},
        attributes={"resolution": [4, 4, 4], **stated},
    )  # fmt: skip
    assert opened(path, kind="prediction").squash_nm == (None if where == "neither" else 30)
    assert opened(path, kind="raw").squash_nm is None


@pytest.mark.parametrize("length", [0, -50, "50", float("inf"), float("nan")])
def test_a_squash_length_that_is_none_is_refused(length: object) -> None:
    with pytest.raises(WrongUse, match="p has the squash_nm"):
        squash_of({"squash_nm": length}, "p")


def whole(source: Source) -> Box:
    return Box((0, 0, 0), source.shape)


def test_probabilities_are_no_prediction(tmp_path: Path) -> None:
    path = n5_array(tmp_path / "p", BYTES.reshape(4, 8, 8), attributes={"float_range": [0, 1]})
    with pytest.raises(WrongUse, match="float_range"):
        opened(path, kind="prediction", voxel_size_nm=(4, 4, 4))


@pytest.mark.parametrize("where", ["array", "group", "neither"])
def test_whether_a_prediction_is_a_probability_is_stated(where: str, tmp_path: Path) -> None:
    stated = {"meaning": "probability"}
    n5_group(tmp_path / "mito", stated if where == "group" else {})
    path = n5_array(
        tmp_path / "mito" / "s0", BYTES.reshape(4, 8, 8), {"type": "gzip", "level": 6},
        attributes={"resolution": [4, 4, 4], **(stated if where == "array" else {})},
    )  # fmt: skip
    assert opened(path, kind="prediction").is_distance == (where == "neither")


@pytest.mark.parametrize("meaning", ["logit", "", 1, None, ["distance"], "x" * 1000])
def test_another_meaning_is_refused(meaning: object) -> None:
    assert holds_distances({"meaning": "distance"}, "p") and holds_distances({}, "p")
    with pytest.raises(WrongUse, match=r"p has the meaning .*; expected distance or pr") as caught:
        holds_distances({"meaning": meaning}, "p")
    assert len(str(caught.value)) < 250
