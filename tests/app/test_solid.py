"""Labels in three dimensions: what is drawn is bounded, and is the labels."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fibstream.app.colours import PALETTE, Colouring, places
from fibstream.app.drawing import GAP, TITLE
from fibstream.app.solid import MAX_VOXELS, _level, draw, of_dataset, sample, thinning
from fibstream.volumes.display import Display
from fibstream.volumes.sources import Source, open_volume

from ..cli.viewing import COLOURS, DATASET, SHAPE, VOLUMES, VOXEL_NM, make
from ..support.command import inside


def held(volume, voxel_size_nm=VOXEL_NM, kind="labels") -> Source:
    z, y, x = volume.shape
    return Source(
        "held", (z, y, x), volume.dtype, voxel_size_nm, kind, lambda box: volume[box.slices()],
        Display(),
    )  # fmt: skip


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.sampled_from((4.0, 10.0, 40.0))] * 3),
    st.integers(1, 3000),
)
def test_what_is_drawn_is_bounded_and_is_the_middle_voxel_of_each_step(shape, voxel, most) -> None:
    rng = np.random.default_rng(shape)
    volume = rng.integers(0, 4, shape, np.uint64) * np.uint64(2**40 + 7)
    grey = rng.integers(0, 255, shape, np.uint8)
    step = thinning(shape, voxel, most)
    drawn = sample(held(volume, voxel), places, raw=held(grey, voxel, "raw"), most=most)
    assert drawn.numbers.size <= most
    assert drawn.voxel_size_nm == tuple(v * s for v, s in zip(voxel, step, strict=True))
    at = np.ix_(*[np.minimum(np.arange(0, n, s) + s // 2, n - 1)
                  for n, s in zip(shape, step, strict=True)])  # fmt: skip
    numbers = np.where(volume[at] > 0, places(volume[at]) + 1, 0)
    assert np.array_equal(drawn.numbers, numbers)
    assert drawn.grey is not None and np.array_equal(drawn.grey, grey[at])


@given(st.tuples(*[st.integers(1, 100_000)] * 3), st.tuples(*[st.floats(1, 100)] * 3))
def test_steps_near_cubes_and_are_no_larger_than_needed(shape, voxel) -> None:
    step = thinning(shape, voxel)
    count = np.prod([-(-n // s) for n, s in zip(shape, step, strict=True)], dtype=float)
    assert count <= MAX_VOXELS
    if np.prod(shape, dtype=float) > MAX_VOXELS:
        assert count > MAX_VOXELS / 4
    else:
        assert step == (1, 1, 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make(tmp_path_factory.mktemp("solid") / "cell.zarr")


def share(image: Image.Image, colour) -> float:
    """Return the share of pixels that have the hue of a colour, however they are lit."""
    pixels = np.asarray(image).reshape(-1, 3).astype(float)[::3]
    bright = pixels.max(1)
    hue = pixels / np.maximum(bright, 1)[:, None]
    wanted = colour / max(colour)
    return float(((np.abs(hue - wanted).max(1) < 0.06) & (bright > 40)).mean())


def test_every_object_is_seen_in_its_colour_before_the_micrograph(dataset) -> None:
    image = of_dataset(dataset, DATASET, "labels/mito", COLOURS, edge=250)
    assert image is not None and image.width == 250 + 2 * GAP
    ids = np.unique(VOLUMES["labels/mito"])[1:]
    for colour in COLOURS(ids).astype(float):
        assert share(image, colour) > 0.01
    unused = PALETTE[(COLOURS.places(ids)[0] + 3) % len(PALETTE)].astype(float)
    assert share(image, unused) < 0.001
    greys = np.asarray(image)[TITLE:-100]
    plain = (np.ptp(greys.astype(int), axis=-1) < 3) & (greys.max(-1) > 60)
    assert plain.mean() > 0.15 and greys[plain].std() > 10  # walls show raw


class Shifted(Colouring):
    """Colours that are not those of the ids alone."""

    def places(self, ids):
        return (places(ids) + 5) % len(PALETTE)


def test_colours_are_those_that_are_given(dataset) -> None:
    none = np.zeros((0, 3), np.int64)
    given_ = Shifted(np.zeros(0, np.uint64), none, none, VOXEL_NM)
    image = of_dataset(dataset, DATASET, "labels/mito", given_, edge=250)
    assert image is not None
    for colour in given_(np.unique(VOLUMES["labels/mito"])[1:]).astype(float):
        assert share(image, colour) > 0.01


def test_a_coarse_level_is_all_that_is_read(dataset, tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    shutil.copytree(dataset, out)
    shutil.rmtree(out / "labels/mito/s0/c")
    ids = np.unique(VOLUMES["labels/mito"])[1:]
    for most, there in ((20_000, True), (10**6, False)):
        image = of_dataset(out, DATASET, "labels/mito", COLOURS, most=most, edge=250)
        assert image is not None
        assert all((share(image, c) > 0.01) == there for c in COLOURS(ids).astype(float))


def test_a_level_of_the_pyramid_shows_the_same(dataset) -> None:
    """Of a volume too large, a coarser level is read: the two pictures differ at surfaces alone."""
    whole = of_dataset(dataset, DATASET, "labels/mito", COLOURS, edge=250)
    coarse = of_dataset(dataset, DATASET, "labels/mito", COLOURS, most=20_000, edge=250)
    assert whole is not None and coarse is not None and whole.size == coarse.size
    ids = np.unique(VOLUMES["labels/mito"])[1:]
    for colour in COLOURS(ids).astype(float):
        assert share(coarse, colour) == pytest.approx(share(whole, colour), rel=0.2)


def test_what_is_not_there_yet_has_no_picture(dataset) -> None:
    assert of_dataset(dataset, DATASET, "labels/none", COLOURS) is None


@pytest.mark.parametrize("place", [(0.0, 5000.0, -30.0), (0.5, 0.0, 0.0)])
def test_a_volume_that_begins_elsewhere_says_so(place) -> None:
    drawn = sample(held(np.ones((4, 5, 6), np.uint8)), places)
    plain, told = (np.asarray(draw(drawn, "x, ", 300, begins)) for begins in ((0, 0, 0), place))
    assert np.array_equal(plain[TITLE:], told[TITLE:])
    assert (told[:TITLE] != told[0, 0]).sum() > (plain[:TITLE] != plain[0, 0]).sum()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 60, 50), (40, 1, 30), (2, 2, 200)])
def test_any_shape_has_a_picture(shape) -> None:
    volume = np.zeros(shape, np.uint64)
    volume[..., : shape[2] // 2 + 1] = 5
    image = draw(sample(held(volume), places), "x, ", 120)
    assert share(image, PALETTE[places(np.array([5], np.uint64))[0]].astype(float)) > 0


def test_of_arrays_with_levels_a_small_one_that_all_have_is_read(dataset) -> None:
    labels, raw = (open_volume(f"{dataset}#{name}") for name in ("labels/mito", "raw"))
    assert labels.name.endswith("/s0")
    whole = int(np.prod(SHAPE))
    for most, level in ((whole, 0), (whole - 1, 1), (1, 1)):  # there are two levels
        assert _level(labels, raw, most) == _level(labels, None, most) == level
    elsewhere = held(VOLUMES["raw"], kind="raw")
    assert _level(labels, elsewhere, 1) == 0  # it has no levels
    assert _level(open_volume(f"{dataset}#labels/mito/s1"), None, 1) == 0


# -- the command -----------------------------------------------------------------------------------


def test_the_command_draws_a_dataset_and_any_labels(dataset, tmp_path) -> None:
    small = ("--size", 200)
    answer = inside("picture", f"{dataset}#labels/mito", "--out", tmp_path / "a.png", *small)
    assert (answer.code, answer.out.strip()) == (0, str(tmp_path / "a.png")), answer.err
    named = inside("picture", dataset, "--out", tmp_path / "b.png", *small)  # its only labels
    assert (
        named.code == 0 and (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    )
    np.savez(tmp_path / "l.npz", labels=VOLUMES["labels/mito"], voxel_size_nm_zyx=VOXEL_NM)
    np.savez(tmp_path / "r.npz", raw=VOLUMES["raw"], voxel_size_nm_zyx=VOXEL_NM)
    flags = ("--out", tmp_path / "c.png", "--raw", tmp_path / "r.npz", *small)
    assert inside("picture", tmp_path / "l.npz", *flags).code == 0
    alone = Image.open(tmp_path / "c.png")
    for number in np.unique(VOLUMES["labels/mito"])[1:]:
        colour = PALETTE[places(np.array([number], np.uint64))[0]].astype(float)
        assert share(alone, colour) > 0.01


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{d}", "--out", "x.jpg"), "ends in .png"),
        (("{d}", "--out", "no/where/x.png"), "expected a new file"),
        (("{d}#labels/er", "--out", "x.png"), "expected one of {d}#labels/mito"),
        (("{d}", "--raw", "r.npz", "--out", "x.png"), "a dataset has its own"),
        (("nothing.zarr", "--out", "x.png"), "nothing.zarr"),
        (("l.npz", "--raw", "r.npz", "--out", "x.png"), "is (2, 3, 5); l.npz#labels is (2, 3, 4)"),
        (("f.npz", "--out", "x.png"), "for labels"),
    ],
)
def test_wrong_calls_write_nothing(dataset, tmp_path, monkeypatch, arguments, said) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("l.npz", labels=np.ones((2, 3, 4), np.uint8), voxel_size_nm_zyx=[8.0] * 3)
    np.savez("r.npz", raw=np.ones((2, 3, 5), np.uint8), voxel_size_nm_zyx=[8.0] * 3)
    np.savez("f.npz", raw=np.ones((2, 3, 5), np.float32), voxel_size_nm_zyx=[8.0] * 3)
    answer = inside("picture", *(text.format(d=dataset) for text in arguments))
    assert answer.code == 2, answer
    assert said.format(d=dataset) in answer.err and answer.err.count("\n") == 1
    assert not list(tmp_path.glob("x.*"))
