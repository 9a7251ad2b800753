"""Pictures of labelled volumes: what is known of a ball, a face, a shadow is seen in them."""

import numpy as np
import pytest

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box
from fibstream.phantom.rendering import MARGIN, Cuts, Part, View, outline_nm, render

RED, BLUE, GREY = (200, 40, 40), (40, 40, 200), (150, 150, 150)
WHITE = np.array([255, 255, 255])
ABOVE = View((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))  # down z; x to the right, y down
EDGE = 48
BALL = [Part((1,), RED)]


def ball(shape=(EDGE,) * 3, voxel=(1.0, 1.0, 1.0), radius=16.0, label=1) -> np.ndarray:
    """Return a ball in the middle of a volume."""
    axes = [(np.arange(n) + 0.5 - n / 2) * v for n, v in zip(shape, voxel, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return ((z**2 + y**2 + x**2 < radius**2) * label).astype(np.uint8)


def seen(image: np.ndarray) -> np.ndarray:
    return (image != WHITE).any(axis=-1)


def reddish(image: np.ndarray) -> np.ndarray:
    return image[..., 0].astype(int) > image[..., 2].astype(int) + 20


def bluish(image: np.ndarray) -> np.ndarray:
    return reddish(image[..., ::-1])


@pytest.mark.parametrize("view", [ABOVE, View.turned(30, 40), View.turned(-50, 200)])
def test_a_ball_is_a_disc_of_its_area_in_the_middle(view: View) -> None:
    image = render(ball((80,) * 3, radius=32.0), (1.0, 1.0, 1.0), BALL, view, 0.25)
    rows, columns = np.nonzero(seen(image))
    radius = np.sqrt(rows.size / np.pi) * 0.25
    assert 31.8 < radius < 32.7  # seen across its corners a voxel reaches out by half of one
    middle = (np.array(image.shape[:2]) - 1) / 2
    assert np.abs([rows.mean() - middle[0], columns.mean() - middle[1]]).max() < 1.0


def test_the_brightest_place_of_a_ball_is_half_way_to_the_lamp() -> None:
    """Gloss peaks where the normal halves the angle between lamp (-.46, -.62, -.64) and eye."""
    image = render(ball(radius=20.0), (1.0, 1.0, 1.0), BALL, ABOVE, 0.25).astype(float)
    bright = image[..., 1] * seen(image)  # red alone hides gloss: green has little else
    rows, columns = np.nonzero(bright > bright.max() - 6)
    lamp = np.array([-0.46, -0.62, -0.64]) / np.linalg.norm([0.46, 0.62, 0.64])
    half = lamp - np.array([0.0, 0.0, 1.0])
    half *= 20.0 / np.linalg.norm(half)
    middle = (np.array(image.shape[:2]) - 1) / 2
    found = (np.array([columns.mean() - middle[1], rows.mean() - middle[0]])) * 0.25
    assert np.abs(found - half[:2]).max() < 2.0


def test_surfaces_have_no_stairs() -> None:
    """Brightness changes slowly along a line over a ball, whatever its voxels are."""
    image = render(ball(radius=20.0), (1.0, 1.0, 1.0), BALL, ABOVE, 0.1).astype(float)[..., 0]
    middle = (np.array(image.shape) - 1) / 2
    steps = np.linspace(-6.0, 6.0, 121) / 0.1
    line = image[(middle[0] + steps).astype(int), (middle[1] - steps).astype(int)]
    smooth = np.polyval(np.polyfit(steps, line, 4), steps)
    assert np.std(line - smooth) < 2.0  # a surface seen voxel by voxel jumps by 50


def test_voxels_of_any_shape_keep_a_ball_round() -> None:
    voxel = (3.0, 1.0, 1.5)
    labels = ball((24, 72, 48), voxel, 30.0)
    image = render(labels, voxel, BALL, View.turned(0, 0), 0.5)
    rows, columns = np.nonzero(seen(image))
    assert np.ptp(rows) == pytest.approx(120, abs=7)  # two slices are 12 pixels
    assert np.ptp(columns) == pytest.approx(120, abs=4)
    assert rows.size * 0.25 == pytest.approx(np.pi * 900, rel=0.04)


def test_the_nearer_hides_the_farther() -> None:
    labels = np.zeros((EDGE,) * 3, np.uint8)
    labels[5:10, 8:30, 8:30] = 1
    labels[30:35, 20:44, 20:44] = 2
    parts = [Part((1,), RED), Part((2,), BLUE)]
    both = slice(24, 28)
    down = render(labels, (1.0, 1.0, 1.0), parts, ABOVE, 1.0)
    up = render(labels, (1.0, 1.0, 1.0), parts, View((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), 1.0)
    assert reddish(down[both, both]).all()
    assert bluish(up[both, up.shape[1] - 28 : up.shape[1] - 24]).all()


def test_right_is_right_and_down_is_down() -> None:
    labels = np.zeros((EDGE,) * 3, np.uint8)
    labels[20:28, 2:8, 36:46] = 1
    rows, columns = np.nonzero(seen(render(labels, (1.0, 1.0, 1.0), BALL, ABOVE, 1.0)))
    assert rows.mean() < EDGE / 4
    assert columns.mean() > 3 * EDGE / 4


def test_what_is_in_no_part_hides_nothing() -> None:
    labels = ball(label=2)
    alone = render(labels, (1.0, 1.0, 1.0), [Part((2,), BLUE)], ABOVE, 0.5)
    labels[:6] = 1
    behind = render(labels, (1.0, 1.0, 1.0), [Part((2,), BLUE)], ABOVE, 0.5)
    covered = render(labels, (1.0, 1.0, 1.0), [Part((1,), RED), Part((2,), BLUE)], ABOVE, 0.5)
    assert np.array_equal(alone, behind)
    assert not bluish(covered).any()


def test_axes_may_change_places_with_the_view() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random((5, 6, 7)) < 0.3).astype(np.uint8).repeat(6, 0).repeat(6, 1).repeat(6, 2)
    grey = rng.integers(0, 256, labels.shape, np.uint8)
    into, down = (0.5, -0.6, -0.4), (1.0, 0.1, 0.0)
    one = render(labels, (3.0, 2.0, 1.0), BALL, View(into, down), 0.7, grey=grey)
    turned = View((into[1], into[2], into[0]), (down[1], down[2], down[0]))
    two = render(
        labels.transpose(1, 2, 0), (2.0, 1.0, 3.0), BALL, turned, 0.7, grey=grey.transpose(1, 2, 0)
    )
    assert one.shape == two.shape
    unlike = np.abs(one.astype(int) - two).max(axis=-1) > 2  # rays along an edge choose a side
    assert unlike.mean() < 0.01 < seen(one).mean()


def test_numbers_of_sixteen_bits_are_seen_the_same() -> None:
    one = render(ball(), (1.0, 1.0, 1.0), BALL, ABOVE, 1.0)
    wide = ball().astype(np.uint16) * 40_000
    assert np.array_equal(one, render(wide, (1.0, 1.0, 1.0), [Part((40_000,), RED)], ABOVE, 1.0))


# -- cuts ------------------------------------------------------------------------------------------


def test_a_cut_opens_a_ball_and_shows_the_micrograph() -> None:
    labels = np.maximum(ball(), ball(radius=8.0, label=2))
    grey = np.full(labels.shape, 90, np.uint8)
    parts = [Part((1,), RED, opacity=0.0), Part((2,), BLUE, opacity=1.0)]
    closed = render(labels, (1.0, 1.0, 1.0), parts, ABOVE, 0.5, grey=grey)
    half = Cuts(removed=Box((0, 0, 0), (EDGE // 2, EDGE, EDGE)))
    opened = render(labels, (1.0, 1.0, 1.0), parts, ABOVE, 0.5, grey=grey, cuts=half)
    assert not bluish(closed).any()
    core = (labels[EDGE // 2] == 2).sum()
    assert core <= bluish(opened).sum() * 0.25 < 1.1 * core
    rim = opened[opened.shape[0] // 2, opened.shape[1] // 2 + 24]  # 12 from the middle
    assert 60 < rim[0] == rim[1] == rim[2] < 130  # grey, a little paler with the distance


def test_faces_show_the_voxels_that_lie_there() -> None:
    labels = np.ones((8, EDGE, EDGE), np.uint8)
    grey = np.zeros(labels.shape, np.uint8)
    grey[:] = np.arange(EDGE)[:, None] + 3 * np.arange(EDGE)
    grey[2:] = 255
    parts = [Part((1,), RED, kept=False, opacity=0.0)]
    for top in (0, 1):  # the second slice is that which baring the first shows
        cuts = Cuts(opened=Box((0, 0, 0), (top, EDGE, EDGE)))
        image = render(labels, (1.0, 1.0, 1.0), parts, ABOVE, 1.0, grey=grey, cuts=cuts)
        inner = image[1:-1, 1:-1].astype(float)[:EDGE, :EDGE]
        fit = np.corrcoef(inner[..., 0].ravel(), grey[top].ravel())[0, 1]
        assert fit > 0.999
        assert np.ptp(inner, axis=-1).max() <= 1


def test_a_face_without_a_micrograph_is_flat() -> None:
    labels = np.ones((EDGE,) * 3, np.uint8)
    image = render(labels, (1.0, 1.0, 1.0), BALL, ABOVE, 1.0)
    face = image[8:-8, 8:-8].astype(int)
    assert np.ptp(face, axis=(0, 1)).max() <= 1
    assert reddish(face).all()


def test_only_what_stands_is_left_where_a_block_is_bared() -> None:
    labels = np.maximum(ball(label=2), 1)
    parts = [Part((1,), BLUE, kept=False), Part((2,), RED)]
    opened = Cuts(opened=Box((0, 0, 0), (30, EDGE, EDGE)))
    image = render(labels, (1.0, 1.0, 1.0), parts, View.turned(20, 45), 0.5, cuts=opened)
    solid = render(labels, (1.0, 1.0, 1.0), parts, View.turned(20, 45), 0.5)
    assert not reddish(solid).any()
    assert reddish(image).sum() > 0.5 * np.pi * 16**2 / 0.25
    assert bluish(image).any()
    assert seen(image).sum() < 0.9 * seen(solid).sum()


def test_what_stands_throws_a_shadow() -> None:
    labels = np.full((EDGE,) * 3, 1, np.uint8)
    labels[:40] = 0
    labels[26:34, 20:28, 20:28] = 2
    parts = [Part((1,), GREY), Part((2,), RED)]
    image = render(labels, (1.0, 1.0, 1.0), parts, ABOVE, 0.5).astype(int)
    # Light comes from the left and above: it is dark to the right and below.
    towards, away = image[22:34, 22:34, 2].mean(), image[62:72, 62:72, 2].mean()
    assert away < 0.85 * towards


# -- wrong use -------------------------------------------------------------------------------------


def test_pictures_are_as_large_as_the_outline() -> None:
    height, width = outline_nm((30.0, 40.0, 50.0), ABOVE)
    assert (height, width) == pytest.approx((40.0, 50.0))
    image = render(ball((30, 40, 50)), (1.0, 1.0, 1.0), BALL, ABOVE, 0.5)
    assert image.shape == (int(np.ceil(80 * MARGIN)), int(np.ceil(100 * MARGIN)), 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"labels": np.zeros((4, 4), np.uint8)}, WrongUse, "labels"),
        ({"labels": np.zeros((4, 4, 4), np.int32)}, WrongUse, "int32"),
        ({"grey": np.zeros((4, 4, 4), np.uint8)}, WrongUse, "grey"),
        ({"voxel_size_nm": (1.0, 0.0, 1.0)}, WrongUse, "voxel"),
        ({"pixel_nm": -1.0}, WrongUse, "pixel"),
        ({"pixel_nm": 0.001}, LimitExceeded, "4000"),
        ({"view": View((1.0, 0.0, 0.0), (2.0, 0.0, 0.0))}, WrongUse, "view"),
        ({"parts": [Part((1,), (0, 0, 256))]}, WrongUse, "colours"),
        ({"parts": BALL * 254}, LimitExceeded, "253"),
    ],
)
def test_wrong_use_is_named(change: dict, error: type, says: str) -> None:
    given = {
        "labels": ball(), "voxel_size_nm": (1.0, 1.0, 1.0), "parts": BALL, "view": ABOVE,
        "pixel_nm": 1.0,
    }  # fmt: skip
    with pytest.raises(error, match=says):
        render(**given | change)
