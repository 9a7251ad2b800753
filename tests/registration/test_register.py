"""From unknown orientation to a judged transform: right, honest, the same each time."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from fibstream.core.errors import WrongUse
from fibstream.services.registration.affine import levels, refine, starts
from fibstream.services.registration.port import Image, Registration
from fibstream.services.registration.register import prepare, register
from fibstream.services.registration.search import search
from fibstream.services.registration.settings import MICROSCOPES, Microscope, Settings

from .made import Made, made

SIM = MICROSCOPES["sim"]
SMALL = Settings(candidates=4, angle_deg=6.0, scales=(0.86, 0.94, 1.05, 1.18))  # quicker


@cache
def found() -> Registration:
    pair = made()
    return register(pair.em, pair.light, SIM, SMALL)


def error_nm(result: Registration, pair: Made) -> np.ndarray:
    miss = result.transform.to_light(pair.points) - pair.truth.to_light(pair.points)
    return np.linalg.norm(miss, axis=1)


def test_a_turned_mirrored_flipped_specimen_is_found_and_said_to_be() -> None:
    judgement = found().judgement
    error = error_nm(found(), made())
    assert np.median(error) < 60
    assert np.quantile(error, 0.95) < 150
    assert judgement.status == "registered", judgement
    assert judgement.reasons == ()
    assert judgement.folds == 0
    assert 0.5 * np.median(error) < judgement.error_nm < 3 * np.median(error)
    mapped = found().error_map
    assert mapped is not None
    assert 0.5 * judgement.error_nm < np.median(mapped.grey) < 2.5 * judgement.error_nm


@pytest.mark.parametrize(("angle", "mirror", "flip"), [(20.0, 1.0, 1.0), (260.0, -1.0, 1.0)])
def test_search_and_affine_find_any_orientation(angle: float, mirror: float, flip: float) -> None:
    pair = made(2, angle, mirror, flip)
    prepared = prepare(pair.em, pair.light, SIM, Settings())
    poses = search(*prepared, Settings(scales=(0.94, 1.05), candidates=4))
    best = poses[0]
    assert best.mirror == mirror
    assert abs(math.remainder(math.degrees(best.angle) - angle, 360)) < 6
    coarse, middle, _ = levels(*prepared)
    tried = [refine(s, coarse, 14) for pose in poses for s in starts(pose, coarse)]
    fitted = refine(max(tried, key=lambda one: one.ncc).transform, middle, 10)
    miss = fitted.transform.to_light(pair.points) - pair.truth.to_light(pair.points)
    assert np.median(np.linalg.norm(miss, axis=1)) < 60
    assert np.sign(fitted.transform.matrix[0, 0]) == flip


def test_the_light_of_another_cell_is_not_registered() -> None:
    judgement = register(made().em, made(7).light, SIM, SMALL).judgement
    assert judgement.status == "unregistered"
    assert judgement.reasons


def test_threads_and_repetition_change_no_bit() -> None:
    pair, threads = made(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(5)
        again = register(pair.em, pair.light, SIM, SMALL)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert np.array_equal(again.transform.matrix, found().transform.matrix)
    one, other = again.transform.spline, found().transform.spline
    assert one is not None and other is not None
    assert np.array_equal(one.coefficients, other.coefficients)
    assert again.judgement == found().judgement


def test_places_follow_the_corners_of_both_images() -> None:
    pair = made()
    moved = register(
        replace(pair.em, corner_nm=(1280.0, -640.0, 2560.0)),
        replace(pair.light, corner_nm=(-5000.0, 20000.0, 0.0)), SIM, SMALL,
    )  # fmt: skip
    shift, other = np.array([1280.0, -640.0, 2560.0]), np.array([-5000.0, 20000.0, 0.0])
    miss = moved.transform.to_light(pair.points + shift) - other - pair.truth.to_light(pair.points)
    assert np.median(np.linalg.norm(miss, axis=1)) < 60


def test_brightness_and_offset_of_the_light_hardly_matter() -> None:
    pair = made()
    brighter = replace(pair.light, voxels=pair.light.voxels.astype(np.float64) * 7 + 3000)
    one = prepare(pair.em, pair.light, SIM, Settings()).light.grey
    two = prepare(pair.em, brighter, SIM, Settings()).light.grey
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.99


LIGHT = made().light.grey


@pytest.mark.parametrize(
    ("light", "text"),
    [
        (LIGHT[0], "light: 2 axes; expected a stack of 3"),
        (LIGHT[:0], "light: empty"),
        (LIGHT[:3], "expected at least 4 an axis"),
        (np.full_like(LIGHT, 7), "light: flat, every voxel is 7"),
        (np.where(LIGHT > 200, np.nan, LIGHT), "light: has values that are not finite"),
        (np.where(LIGHT > 200, np.inf, LIGHT), "light: has values that are not finite"),
        (LIGHT.astype(complex), "light: values of type complex128; expected real numbers"),
        (LIGHT[:, :30, :30], "light: no overlap, it spans 3.6 x 3.6 um and the specimen 9.0"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_one_line(light: np.ndarray, text: str) -> None:
    with pytest.raises(WrongUse, match=text) as caught:
        register(made().em, replace(made().light, voxels=light), SIM, SMALL)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_wrong_sizes_windows_masks_and_settings_are_refused() -> None:
    em, light = made().em, made().light
    sizes: list[Any] = [(0.0, 1.0, 1.0), (math.nan, 120.0, 120.0), (1.0, 1.0, 1e6), (125.0, 120.0)]
    for size in sizes:
        with pytest.raises(WrongUse, match="light: voxel size"):
            prepare(em, replace(light, voxel_nm=size), SIM, SMALL)
    with pytest.raises(WrongUse, match="light: corner"):
        prepare(em, replace(light, corner_nm=(0.0, math.inf, 0.0)), SIM, SMALL)
    with pytest.raises(WrongUse, match="prediction: empty, all of it is 0 in window 300,400"):
        prepare(em, light, SIM, Settings(window=(300.0, 400.0)))
    with pytest.raises(WrongUse, match="mask of"):
        prepare(em, light, SIM, SMALL, np.ones((2, 2, 2), bool))
    with pytest.raises(WrongUse, match="prediction: empty"):
        prepare(em, light, SIM, SMALL, np.zeros(em.voxels.shape, bool))
    wrong: list[dict[str, Any]] = [
        {"window": (5.0, 5.0)}, {"angle_deg": 0.0}, {"candidates": 0}, {"scales": ()},
        {"knots_nm": math.nan}, {"bending": -1.0}, {"scales": (1.0, math.nan)},
    ]  # fmt: skip
    for one in wrong:
        with pytest.raises(WrongUse, match="expected"):
            Settings(**one)
    for psf in ((math.nan, 100.0), (300.0, 0.0)):
        with pytest.raises(WrongUse, match="psf_nm"):
            Microscope(psf)
    with pytest.raises(WrongUse, match="smooth_nm"):
        Microscope((300.0, 120.0), -1.0)


def test_a_light_image_where_nothing_stands_out_is_empty() -> None:
    voxels = np.full(LIGHT.shape, 100, np.uint16)
    voxels[:4] = 101  # only the first slices differ, evenly
    result = None
    try:
        result = register(made().em, Image(voxels, made().light.voxel_nm), SIM, SMALL)
    except WrongUse as error:
        assert "light" in str(error)
    if result is not None:
        assert result.judgement.status == "unregistered"
