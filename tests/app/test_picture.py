"""Pictures of a dataset: one scale, positions that are right, every voxel to be seen, the truth."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fibstream.app import planes
from fibstream.app.catalogue import segmentations
from fibstream.app.drawing import (
    GAP,
    MARK,
    PANEL,
    TITLE,
    VEIL,
    Panel,
    bar,
    fit,
    laid,
    length_text,
    veil,
    write,
)
from fibstream.app.histogram import ticks
from fibstream.app.picture import EXTRA, MISSED, TICK, Subject, compared, details, numbered, paint
from fibstream.app.planes import section, thinned
from fibstream.store.local import LocalFiles
from fibstream.volumes.display import Display
from fibstream.volumes.sources import Source, open_volume

from ..cli.viewing import DATASET, FIRST, SECOND, SHAPE, VOLUMES, VOXEL_NM, make

POINT = (13.5 * VOXEL_NM[0], 11.5 * VOXEL_NM[1], 25.5 * VOXEL_NM[2])


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    out = make(tmp_path_factory.mktemp("picture") / "cell.zarr")
    (chosen,) = segmentations(DATASET, LocalFiles(out))
    return Subject(out, DATASET, chosen, POINT, ranks={FIRST: 1, SECOND: 2})


def test_all_panels_have_one_scale(subject) -> None:
    """The volume has three edges and three voxel sizes: each panel is as large as what it shows."""
    image = np.asarray(paint(subject)).astype(int)
    z, y, x = (n * size for n, size in zip(SHAPE, VOXEL_NM, strict=True))
    scale = PANEL / max(z, y, x)
    bright = (image.sum(-1) > 3 * 24) & (np.ptp(image, axis=-1) == 0)
    top = TITLE
    for height, width in ((y, x), (z, x), (z, y)):
        rows, columns = round(height * scale), round(width * scale)
        part = bright[top : top + rows, GAP : GAP + PANEL]
        assert part[20:-40, : columns - 1].mean() > 0.95
        assert part[20:-40, columns + 1 :].sum() == 0
        top += rows + GAP
    assert image.shape[:2] == (top + TITLE, GAP + 3 * (PANEL + GAP))


def test_positions_are_voxels_of_the_full_resolution_and_lengths(subject) -> None:
    assert [subject.position(axis) for axis in range(3)] == [
        "xy at z = 13 (260 nm)", "xz at y = 11 (110 nm)", "yz at x = 25 (200 nm)",
    ]  # fmt: skip
    assert [length_text(n) for n in (0.5, 999, 1000, 12_500)] == [
        "0.5 nm", "999 nm", "1 µm", "12.5 µm",
    ]  # fmt: skip


def test_positions_count_from_where_the_volume_lies(subject) -> None:
    offset = (1000.5, -30.0, -2000.0)
    elsewhere = replace(subject, dataset=DATASET.model_copy(update={"offset_nm": offset}))
    assert [elsewhere.position(axis) for axis in range(3)] == [
        "xy at z = 13 (1.2605 µm)", "xz at y = 11 (80 nm)", "yz at x = 25 (-1.8 µm)",
    ]  # fmt: skip
    assert not np.array_equal(np.asarray(paint(elsewhere)), np.asarray(paint(subject)))
    assert details(elsewhere)[0].title.startswith("xy at z = 13 (1.2605 µm): x 0 to ")


def test_ticks_show_where_the_other_cuts_lie(subject) -> None:
    image = np.asarray(paint(subject))
    scale = PANEL / max(n * size for n, size in zip(SHAPE, VOXEL_NM, strict=True))
    column, row = GAP + round(POINT[2] * scale), TITLE + round(POINT[1] * scale)
    right = GAP + round(SHAPE[2] * VOXEL_NM[2] * scale) - 1
    assert (image[row, right - TICK + 1 : right] == MARK).all()
    height = round(SHAPE[1] * VOXEL_NM[1] * scale)
    assert (image[TITLE + height - TICK : TITLE + height, column] == MARK).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_details_are_the_voxels(subject, axis) -> None:
    found = details(subject)[axis]
    index = planes.voxel_of(DATASET, POINT)[axis]
    raw = VOLUMES["raw"].take(index, axis)
    wanted = np.floor(np.clip((raw.astype(float) - 20) * 255 / 200, 0, 255) + 0.5)
    assert np.array_equal(np.asarray(found.raw), wanted)
    labels = VOLUMES["labels/mito"].take(index, axis)
    assert np.array_equal(np.asarray(found.layers["labels"]), veil(labels))
    rest = [VOXEL_NM[n] for n in range(3) if n != axis]
    assert found.aspect == rest[0] / rest[1]
    assert found.title.endswith("the whole plane")


def test_a_part_of_a_plane_lies_around_the_point_and_inside(subject) -> None:
    for point, start in (((270.0, 235.0, 252.0), (18, 26)), ((0.0, 0.0, 1e9), (0, 54))):
        found = section(subject.out / "raw", "raw", DATASET, 0, point, edge=10)
        assert found is not None
        assert (found.start, found.whole, found.values.shape) == (start, (48, 64), (10, 10))
        z = planes.voxel_of(DATASET, point)[0]
        (top, left) = found.start
        plane = VOLUMES["raw"][z, top : top + 10, left : left + 10]
        assert np.array_equal(found.values, plane)


@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 30), st.sampled_from((1, 100, 10**6)))
def test_a_thinned_plane_is_the_plane_at_another_size(rows, columns, axis_at, band) -> None:
    rng = np.random.default_rng(rows * 41 + columns)
    volume = rng.integers(0, 9, (12, 31, 17), np.uint8)

    axis = axis_at % 3
    at = axis_at % volume.shape[axis]
    held = Source(
        "held", (12, 31, 17), volume.dtype, (8, 8, 8), "labels", lambda box: volume[box.slices()],
        Display(),
    )  # fmt: skip
    found = thinned(held, axis, at, (rows, columns), band=band)
    assert np.array_equal(found, fit(volume.take(at, axis), (rows, columns)))


# -- the truth -------------------------------------------------------------------------------------


def test_what_is_extra_missed_and_agreed_has_colours_of_its_own() -> None:
    labels, truth = np.zeros((9, 12), np.uint64), np.zeros((9, 12), np.uint8)
    labels[2:7, 2:8], truth[2:7, 5:11] = 3, 1
    truth[7:, 5:11] = 2
    seen = compared(labels, truth)
    assert tuple(seen[4, 3]) == EXTRA and tuple(seen[4, 9]) == MISSED
    assert tuple(seen[0, 0]) == (0, 0, 0, 0)
    assert tuple(seen[7, 9]) == (*MARK, 255)  # where two objects of the truth touch
    assert tuple(seen[4, 5])[:3] == tuple(seen[4, 6])[:3] == (255, 255, 255)
    grey = np.full((9, 12, 3), 100, np.uint8)
    assert (laid(grey, seen)[0, 0] == 100).all()
    assert laid(grey, seen)[4, 3].tolist() == [
        round(100 + 178 / 255 * (c - 100)) for c in EXTRA[:3]
    ]


def test_the_truth_is_one_more_column_and_layer(subject, tmp_path) -> None:
    path = tmp_path / "truth.npz"
    np.savez(path, labels=VOLUMES["labels/mito"], voxel_size_nm_zyx=np.array(VOXEL_NM))
    truth = open_volume(str(path), kind="labels")
    fields = {name: getattr(subject, name) for name in subject.__dataclass_fields__}
    with_truth = Subject(**(fields | {"truth": truth}))
    assert paint(with_truth).width == GAP + 4 * (PANEL + GAP)
    for detail in details(with_truth):
        seen = np.asarray(detail.layers["labels and truth"]).reshape(-1, 4)
        assert not (seen == EXTRA).all(-1).any() and not (seen == MISSED).all(-1).any()


# -- letters and numbers ---------------------------------------------------------------------------


def test_a_mu_differs_from_a_u_below_the_line_alone() -> None:
    def drawn(text: str):
        image = Image.new("RGB", (80, 40))
        write(ImageDraw.Draw(image), (5, 5), text, size=20)
        return np.asarray(image).max(-1)

    mu, u = drawn("3 µm"), drawn("3 um")
    rows = np.flatnonzero((mu != u).any(1))
    last = np.flatnonzero(u.any(1)).max()
    assert rows.size and rows.min() >= last - 2 and rows.max() > last + 2
    assert np.ptp(np.flatnonzero((mu != u).any(0))) <= 4  # one stem


def test_an_outline_goes_all_around_and_lies_inside() -> None:
    labels = np.zeros((8, 9), np.uint64)
    labels[2:6, 2:7], labels[2:6, 7] = 5, 6
    opaque = veil(labels)[..., 3]
    assert (opaque[labels == 0] == 0).all()
    assert (opaque[3:5, 3:6] == VEIL).all() and (opaque == VEIL).sum() == 6


def test_numbers_lie_on_their_objects() -> None:
    labels = np.zeros((60, 120), np.uint64)
    labels[5:55, 5:55], labels[5:55, 70:74], labels[20:50, 90:118] = 7, 8, 2**63
    plain = np.zeros((60, 120, 3), np.uint8)
    seen = numbered(plain, labels, {7: 1, 8: 2, 2**63: 3}).max(-1) > 0
    assert seen[5:55, 5:55].any() and seen[20:50, 90:118].any()
    assert not seen[:, 62:85].any()  # too thin for one
    assert not numbered(plain, labels, {}).any()


@pytest.mark.parametrize(
    ("per_nm", "length_nm"), [(0.2, 500), (0.02, 5000), (0.26, 500), (0.27, 200), (20.0, 5)]
)
def test_a_scale_bar_is_as_long_as_it_says_and_short_enough(per_nm, length_nm) -> None:
    page = Image.new("RGB", (PANEL, PANEL))
    bar(ImageDraw.Draw(page), 0, 0, Panel(page.copy(), per_nm))
    row = (np.asarray(page)[PANEL - 9] == MARK).all(-1)  # within the bar, below its letters
    assert abs(row.sum() - 1 - length_nm * per_nm) <= 1 and row.sum() <= PANEL / 3 + 1


@given(st.integers(1, 10**12))
def test_ticks_of_an_axis_are_few_round_and_reach_the_largest_count(most) -> None:
    found = ticks(most)
    assert found[0] == 0 and found[-1] >= most and 2 <= len(found) <= 7
    assert len(set(np.diff(found))) == 1
