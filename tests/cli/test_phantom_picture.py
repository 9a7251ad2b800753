"""The picture of a phantom: it shows the very cell, opened, with everything named."""

from functools import cache

import numpy as np
import pytest
from PIL import Image

from fibstream.app.drawing import GAP, PANEL, TITLE
from fibstream.cli.phantom.picture import LEGEND, SOLID, paint, sampled
from fibstream.phantom import Look, Phantom, PhantomSpec

SPEC = PhantomSpec((48, 64, 80), (30.0, 25.0, 20.0), seed=3)
FINE = PhantomSpec((90, 120, 150), (16.0, 12.0, 12.0), seed=3, look=Look(missing=(80,), jitter=1))


@cache
def picture() -> Image.Image:
    return paint(Phantom(SPEC))


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(c) for c in np.unique(np.asarray(image).reshape(-1, 3), axis=0).tolist()}


def test_every_organelle_that_is_there_is_named_with_its_colour() -> None:
    there = set(np.unique(Phantom(SPEC).voxels(Phantom(SPEC).box()).material).tolist())
    left = np.asarray(picture())[TITLE:, :SOLID]
    legend = colours(Image.fromarray(left[-150:]))
    for name, part in LEGEND:
        if there & set(part.labels):
            assert part.colour in legend, name
    assert {"mitochondria", "reticulum", "nuclear envelope"} <= {
        name for name, part in LEGEND if there & set(part.labels)
    }


def test_what_is_not_there_is_not_named() -> None:
    spec = PhantomSpec((40, 40, 40), (25.0, 25.0, 25.0), seed=1, organelles=("mito",))
    legend = colours(paint(Phantom(spec)))
    names = dict(LEGEND)
    assert names["mitochondria"].colour in legend
    assert names["Golgi"].colour not in legend


def test_no_two_organelles_have_one_colour() -> None:
    pairs = {(name, part.colour) for name, part in LEGEND}
    assert len({colour for _, colour in pairs}) == len(pairs) == len({name for name, _ in pairs})


def test_sections_show_the_micrograph_and_the_same_in_colour() -> None:
    image = np.asarray(picture()).astype(int)
    columns = SOLID + 2 * GAP
    grey = image[TITLE + 30 : TITLE + 250, columns + 10 : columns + 380]
    truth = image[TITLE + 30 : TITLE + 250, columns + PANEL + GAP + 10 : columns + PANEL + 386]
    assert np.ptp(grey, axis=-1).max() == 0
    assert (np.ptp(truth, axis=-1) > 40).mean() > 0.05
    where = np.ptp(truth, axis=-1) == 0
    assert where.mean() > 0.1  # cytosol and resin stay as they are
    assert (np.abs(truth - grey)[where] <= 1).mean() > 0.98  # but where edges are smoothed


def test_the_picture_is_the_same_every_time() -> None:
    assert np.array_equal(np.asarray(paint(Phantom(SPEC))), np.asarray(picture()))


def test_coarser_voxels_show_the_same_cell() -> None:
    spec, box = sampled(FINE, 100_000)
    assert np.prod(spec.shape) <= 110_000
    assert (box.shape, box.start) == (spec.shape, (0, 0, 0))
    assert spec.extent_nm == FINE.extent_nm
    fine, coarse = Phantom(FINE), Phantom(spec)
    assert fine.things == coarse.things or str(fine.things) == str(coarse.things)  # NaN
    for one, two in zip(fine.lines, coarse.lines, strict=True):
        assert np.array_equal(one.points, two.points)
    # Where a coarse voxel lies, the fine one at its centre is of the same organelle.
    inside = coarse.instances("mito", coarse.box())
    finer = fine.instances("mito", fine.box())
    at = [
        ((np.arange(n) + 0.5) * m / n).astype(int)
        for n, m in zip(spec.shape, FINE.shape, strict=True)
    ]
    assert (inside == finer[np.ix_(*at)]).mean() > 0.97
    assert (inside > 0).mean() > 0.02


def test_a_large_phantom_is_painted_from_a_coarse_one() -> None:
    image = paint(Phantom(FINE), max_voxels=60_000)
    assert image.size[0] == SOLID + 2 * PANEL + 4 * GAP
    assert dict(LEGEND)["mitochondria"].colour in colours(image)


def test_of_a_whole_cell_the_middle_is_drawn() -> None:
    spec, box = sampled(PhantomSpec((10_000,) * 3, (4.0, 4.0, 4.0), seed=1), 64_000_000)
    assert spec.voxel_size_nm == (40.0, 40.0, 40.0)
    assert spec.extent_nm == (40_000.0,) * 3
    assert box.shape[1] == box.shape[2] == 675
    assert 60_000_000 < np.prod(box.shape) <= 64_000_000
    assert [a + b for a, b in zip(*box, strict=True)] == pytest.approx(spec.shape, abs=1)
