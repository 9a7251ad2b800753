"""Where an answer is supported, against its definition place by place."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.grid import Box
from fibstream.services.registration.port import Image, Judgement, Registration
from fibstream.services.registration.support import REACH_NM, STEP_NM, block, support
from fibstream.services.registration.transform import Transform

JUDGEMENT = Judgement("registered", (), 0.5, 0.2, 0.9, 70, 40.0, 0.0)
VOXEL, CORNER = (100.0, 64.0, 300.0), (50.0, -700.0, 12.0)
SHAPE = (7, 13, 9)
SEEDS = st.integers(0, 10_000)


def case(seed: int) -> tuple[Registration, Image, Image, np.ndarray[Any, Any]]:
    """A registration with patches that found a place and others, and cells that have landed."""
    rng = np.random.default_rng(seed)
    em = Image(np.zeros(SHAPE, np.uint8), VOXEL, CORNER)
    points = em.middle_nm + rng.uniform(-0.5, 0.5, (8, 3)) * em.extent_nm
    miss = rng.normal(size=(8, 3))
    miss[rng.random(8) < 0.6] = np.nan
    affine = Transform(np.diag([1.0, -1.0, 1.1]), np.array([0.0, 300.0, 10.0]))
    light = Image(np.zeros((8, 9, 20)), (100.0, 90.0, 110.0), (0.0, 0.0, 0.0))
    landed = np.repeat(rng.random((4, SHAPE[1], SHAPE[2])) < 0.97, 2, axis=0)[: SHAPE[0]]
    return Registration(affine, JUDGEMENT, affine, points, miss), em, light, landed


def supported(
    found: Registration, em: Image, light: Image, box: Box, landed: np.ndarray[Any, Any]
) -> bool:
    """Say of one place what the definition says."""
    low = np.array(em.corner_nm) + np.array(box.start) * em.voxel_nm
    high = np.array(em.corner_nm) + np.array(box.stop) * em.voxel_nm
    middle = (low + high) / 2
    near = any(
        np.linalg.norm(point - middle) <= REACH_NM
        for point, miss in zip(found.points_nm, found.miss_nm, strict=True)
        if not np.isnan(miss).any()
    )
    seen = found.transform.to_light(middle[None])[0]
    inside = all(
        corner <= at <= corner + n * step
        for at, corner, n, step in zip(
            seen, light.corner_nm, light.voxels.shape, light.voxel_nm, strict=True
        )
    )
    return near and inside and bool(landed[box.slices()].all())


@given(SEEDS)
def test_a_place_is_supported_where_all_of_it_landed_near_a_patch_inside_the_light(
    seed: int,
) -> None:
    found, em, light, landed = case(seed)
    valid = support(found, em, light, landed)
    factors = [max(1, int(STEP_NM / v)) for v in VOXEL]
    assert valid.voxels.shape == tuple(-(-n // f) for n, f in zip(SHAPE, factors, strict=True))
    assert valid.voxel_nm == (200.0, 256.0, 300.0) and valid.corner_nm == CORNER
    for index in np.ndindex(valid.voxels.shape):
        start = [i * f for i, f in zip(index, factors, strict=True)]
        stop = [min(s + f, n) for s, f, n in zip(start, factors, SHAPE, strict=True)]
        box = Box(tuple(start), tuple(stop))
        wanted = supported(found, em, light, box, landed)
        assert valid.voxels[index] == wanted, index
        assert (block(valid, em, box) == wanted).all()


@given(SEEDS)
def test_blocks_are_those_of_the_whole(seed: int) -> None:
    found, em, light, landed = case(seed)
    valid = support(found, em, light, landed)
    whole = block(valid, em, Box((0, 0, 0), SHAPE))
    assert whole.shape == SHAPE and whole.dtype == np.uint8
    box = Box((1, 3, 2), (6, 12, 9))
    assert np.array_equal(block(valid, em, box), whole[box.slices()])
    grown = block(valid, em, Box((0, 0, 0), (20, 13, 9)))  # more has landed since
    assert np.array_equal(grown[:7], whole) and not grown[8:].any()
    assert not block(valid, em, Box((10, 0, 0), (20, 13, 9))).any()


def test_without_a_patch_that_found_a_place_nothing_is_supported() -> None:
    found, em, light, _ = case(3)
    found.miss_nm[:] = np.nan
    assert not support(found, em, light).voxels.any()
    found.miss_nm[:] = 0.0
    assert support(found, em, light).voxels.any()
