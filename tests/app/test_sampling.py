"""What samples of a source tell of areas that were never imaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.app.sampling import (
    WINDOW,
    confused_note,
    meaning_note,
    polarity_note,
    unimaged_note,
)
from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.services.inference.polarity import EdgeSums
from fibstream.services.inference.seen import View
from fibstream.services.inference.tiling import predict
from fibstream.volumes.display import Display
from fibstream.volumes.sources import Source, open_volume

from ..support.engines import TinyEngine
from ..support.scene import blobs


def source_of(folder: Path, volume: NDArray[Any]) -> Source:
    np.save(folder / "raw.npy", volume)
    return open_volume(str(folder / "raw.npy"), kind="raw", voxel_size_nm=(10, 10, 10))


def tissue() -> NDArray[np.uint16]:
    return np.random.default_rng(4).integers(900, 1300, (9, 40, 60)).astype(np.uint16)


def test_noise_is_no_area_of_one_value(tmp_path: Path) -> None:
    assert unimaged_note(source_of(tmp_path, tissue()), None) is None


@pytest.mark.parametrize("z", [0, 2, 8])
def test_an_area_that_was_not_declared_is_told_with_its_value(tmp_path: Path, z: int) -> None:
    volume = tissue()
    volume[z, 30:, :30] = 65_535
    note = unimaged_note(source_of(tmp_path, volume), None) or ""
    assert "12.5% of a slice are areas of the one value 65535" in note
    assert "give --absent-value 65535" in note
    assert "\n" not in note
    other = unimaged_note(source_of(tmp_path, volume), 0) or ""
    assert "value 65535 (declared: 0)" in other
    assert unimaged_note(source_of(tmp_path, volume), 65_535) is None


def test_a_declared_fraction_is_that_of_voxels_of_single_precision(tmp_path: Path) -> None:
    volume = tissue().astype(np.float32)
    volume[0, 30:, :30] = 0.1
    assert unimaged_note(source_of(tmp_path, volume), 0.1) is None
    assert "the one value 0.100000001" in (unimaged_note(source_of(tmp_path, volume), 0) or "")


def test_of_large_slices_opposite_corners_are_read() -> None:
    read, black = list[Box](), list[Box]()
    rng = np.random.default_rng(1)

    def fetch(box: Box) -> NDArray[np.uint8]:
        read.append(box)
        noise = rng.integers(1, 200, box.shape).astype(np.uint8)
        return np.zeros_like(noise) if box in black else noise

    size, shown = (8.0, 8.0, 8.0), Display()
    source = Source("big", (1, 5000, 3000), np.dtype("uint8"), size, "raw", fetch, shown)
    assert unimaged_note(source, None) is None
    assert {box.shape for box in read} == {(1, WINDOW, WINDOW)}
    assert {box.start[1:] for box in read} == {(0, 0), (5000 - WINDOW, 3000 - WINDOW)}
    black.append(read[-1])
    assert "100.0% of a slice are areas of the one value 0;" in (unimaged_note(source, None) or "")


def engine_of(raw: NDArray[np.uint8]) -> TinyEngine:
    """A network whose card has the grey levels of ``raw``: what is bright is inside."""
    engine = TinyEngine(output=16)
    box = Box((0, 0, 0), raw.shape)
    sums = EdgeSums(engine.spec.classes)
    sums.add(raw, predict(Patch(raw, box), box, engine))
    engine.spec = engine.spec.model_copy(update={"grey": sums.levels()})
    return engine


@pytest.mark.parametrize("invert", [False, True])
def test_a_forgotten_inversion_is_told_and_a_right_one_is_not(tmp_path: Path, invert: bool) -> None:
    raw, engine = blobs(), engine_of(blobs(seed=1))
    right = View((0, 255), invert)
    wrong = right._replace(invert=not invert)
    source = source_of(tmp_path, 255 - raw if invert else raw)
    assert polarity_note(source, right, engine) is None
    note = polarity_note(source, wrong, engine) or ""
    assert "with the volume inverted" in note and "\n" not in note
    membranes = "membranes are bright, give" if invert else "membranes are dark, leave out"
    assert note.endswith(f"if {membranes} --invert")


def test_grey_values_of_another_range_are_no_inversion(tmp_path: Path) -> None:
    raw = (blobs().astype(np.uint16) * 20 + 7000).astype(np.uint16)
    engine, source = engine_of(blobs(seed=1)), source_of(tmp_path, raw)
    assert polarity_note(source, View((7000, 7000 + 255 * 20)), engine) is None


def test_a_card_without_grey_levels_tells_nothing(tmp_path: Path) -> None:
    source = source_of(tmp_path, 255 - blobs())
    assert polarity_note(source, View((0, 255)), TinyEngine(output=16)) is None


def test_areas_of_one_value_are_not_asked(tmp_path: Path) -> None:
    raw = 255 - blobs()
    raw[:, 11:] = 0
    assert polarity_note(source_of(tmp_path, raw), View((0, 255)), engine_of(blobs(seed=1))) is None


class FromSurface(TinyEngine):
    """A sigmoid whose card declares a distance: 0 to 1 is at or above the surface, all of it."""

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return 127 + super().infer(tile) // 2


def test_a_sigmoid_that_is_declared_a_distance_is_told(tmp_path: Path) -> None:
    source, engine = source_of(tmp_path, blobs()), FromSurface(output=16)
    for meaning in ("distance", "logit"):
        engine.spec = engine.spec.model_copy(update={"meaning": meaning})
        note = meaning_note(source, View((0, 255)), engine) or ""
        assert "finds mito at every voxel that was tried" in note and "\n" not in note
        assert f"its meaning is probability, not {meaning}" in note
    engine.spec = engine.spec.model_copy(update={"meaning": "probability"})
    assert meaning_note(source, View((0, 255)), engine) is None


@pytest.mark.parametrize("classes", [("mito",), ("mito", "rest")])
def test_a_network_that_is_outside_somewhere_is_not_told_of(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    engine = TinyEngine(classes, output=16)
    assert meaning_note(source_of(tmp_path, blobs()), View((0, 255)), engine) is None


def test_what_is_inside_by_far_everywhere_is_not_told_of(tmp_path: Path) -> None:
    """As a class of which the volume is cut out."""
    source = source_of(tmp_path, np.maximum(blobs(), 200))
    assert meaning_note(source, View((0, 255)), TinyEngine(output=16)) is None


@pytest.mark.parametrize("inside", [1, 255])
def test_a_mask_that_is_given_as_a_prediction_is_told(tmp_path: Path, inside: int) -> None:
    np.save(tmp_path / "mask.npy", (blobs() > 120).astype(np.uint8) * inside)
    path = str(tmp_path / "mask.npy")
    note = confused_note(open_volume(path, kind="prediction", voxel_size_nm=(10, 10, 10))) or ""
    assert f"has only the values 0, {inside} where it was looked at" in note
    labels = open_volume(path, kind="labels", voxel_size_nm=(10, 10, 10))
    assert confused_note(labels) is None


def test_a_prediction_that_is_given_as_labels_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.maximum(blobs(), 1))
    path = str(tmp_path / "p.npy")
    note = confused_note(open_volume(path, kind="labels", voxel_size_nm=(10, 10, 10))) or ""
    assert "100.0% of it counts as inside" in note and "\n" not in note
    prediction = open_volume(path, kind="prediction", voxel_size_nm=(10, 10, 10))
    assert confused_note(prediction) is None


@pytest.mark.parametrize("value", [0, 255])
def test_a_prediction_of_nothing_or_of_all_is_not_told_of(tmp_path: Path, value: int) -> None:
    np.save(tmp_path / "p.npy", np.full((9, 9, 9), value, np.uint8))
    source = open_volume(str(tmp_path / "p.npy"), kind="prediction", voxel_size_nm=(10, 10, 10))
    assert confused_note(source) is None


def test_a_small_slice_is_read_once_and_each_place_is_tried_once() -> None:
    read, raw = list[Box](), blobs()

    def fetch(box: Box) -> NDArray[np.uint8]:
        read.append(box)
        return raw[box.slices()]

    size = (8.0, 8.0, 8.0)
    source = Source("small", raw.shape, raw.dtype, size, "raw", fetch, Display())
    unimaged_note(source, None)
    assert {box.start[1:] for box in read} == {(0, 0)} and len(set(read)) == len(read)
    read.clear()
    flat = Source("flat", (12, 20, 20), raw.dtype, size, "raw", fetch, Display())
    assert polarity_note(flat, View((0, 255)), engine_of(blobs(seed=1))) is None
    assert len(set(read)) == len(read) > 0
    assert {box.start[0] for box in read} == {0}  # the whole depth is one tile
