"""The arithmetic of a U-Net's maps: the paper's shapes, and what must hold for any network."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.services.inference.training.shapes import Geometry

PAPER = Geometry((2, 3, 3))
FINER = Geometry((2, 3, 3), upsample=2)  # 8 nm in, 4 nm out


@pytest.mark.parametrize(
    ("geometry", "edge", "output"),
    [
        (PAPER, 198, 18), (PAPER, 216, 36), (PAPER, 360, 180), (PAPER, 396, 216),
        (PAPER, 270, 90), (FINER, 216, 68), (FINER, 288, 212),
    ],
)  # fmt: skip
def test_the_shapes_of_the_paper(geometry, edge, output) -> None:
    assert geometry.plan(edge).output == output
    assert geometry.edge_for(output) == edge


def test_the_papers_network_takes_180_voxels_in_steps_of_18() -> None:
    assert (PAPER.halo, PAPER.stride, PAPER.least().edge) == (90, 18, 198)
    for edge in range(198, 480):
        if edge % 18:
            with pytest.raises(WrongUse, match="does not fit"):
                PAPER.plan(edge)
        else:
            assert PAPER.plan(edge).output == edge - 180
    # 728 nm of context on each side of an 8 nm network
    assert (288 * 8 - 212 * 4) / 2 == 728


def test_what_is_lost_on_each_side_of_common_networks() -> None:
    assert Geometry((2, 2, 2)).halo == 46  # 44, and the crop that keeps tiles alike
    assert Geometry((2, 2, 2)).phase == 2
    assert Geometry((2, 2)).halo == 20


@given(
    factors=st.lists(st.integers(2, 4), min_size=1, max_size=3),
    convolutions=st.integers(1, 3), further=st.integers(0, 3),
)  # fmt: skip
def test_maps_meet_aligned_and_the_result_is_in_the_middle(factors, convolutions, further) -> None:
    geometry = Geometry(tuple(factors), convolutions)
    try:
        least = geometry.least()
    except WrongUse:
        return
    edge = least.edge + further * geometry.stride
    plan = geometry.plan(edge)
    assert plan.output % geometry.stride == 0
    assert plan.output == edge - 2 * geometry.halo
    assert plan.meetings == least.meetings  # crops are constant
    # Both maps of a meeting begin at one place of the input, in halves of voxels for even factors.
    size, place = edge, 0  # of the map, and the voxel of the input where it begins
    down = []
    for level in range(len(factors)):
        step = prod(factors[:level])
        size, place = size - 2 * convolutions, place + convolutions * step
        down.append((size, place, step))
        size //= factors[level]
    step = prod(factors)
    size, place = size - 2 * convolutions, place + convolutions * step
    for level in reversed(range(len(factors))):
        step //= factors[level]
        meeting, size = plan.meetings[level], size * factors[level]
        beside, begins, _ = down[level]
        assert place + meeting.grown[0] * step == begins + meeting.beside[0] * step
        assert size - sum(meeting.grown) == beside - sum(meeting.beside)
        assert min(*meeting.grown, *meeting.beside) >= 0
        place += (meeting.grown[0] + convolutions) * step
        size -= sum(meeting.grown) + 2 * convolutions
    assert (size, place) == (plan.output, geometry.halo)


@given(
    factors=st.lists(st.integers(2, 4), min_size=1, max_size=2),
    convolutions=st.integers(1, 4), upsample=st.integers(2, 4),
)  # fmt: skip
def test_what_is_exported_of_a_finer_output_is_whole_voxels_of_the_input(
    factors, convolutions, upsample
) -> None:
    geometry = Geometry(tuple(factors), convolutions, upsample)
    try:
        plan = geometry.least()
    except WrongUse:
        return
    assert plan.output > 0
    left = plan.output - 2 * geometry.trim
    assert left == upsample * (plan.edge - 2 * geometry.context)
    assert 0 <= geometry.trim < upsample


@given(
    factors=st.lists(st.just(2), min_size=1, max_size=3), convolutions=st.integers(1, 2),
    stem=st.integers(2, 4), further=st.integers(0, 2),
)  # fmt: skip
def test_a_stem_is_the_same_network_on_blocks_of_voxels(
    factors, convolutions, stem, further
) -> None:
    blocks = Geometry(tuple(factors), convolutions)
    voxels = Geometry(tuple(factors), convolutions, stem=stem)
    edge = blocks.least().edge + further * blocks.stride
    one, other = blocks.plan(edge), voxels.plan(edge * stem)
    assert (other.edge, other.output) == (one.edge * stem, one.output * stem)
    assert other.meetings == one.meetings
    for name in ("stride", "halo", "context"):
        assert getattr(voxels, name) == stem * getattr(blocks, name), name
    assert voxels.phase == stem * blocks.phase
    assert voxels.least().edge == stem * blocks.least().edge
    for off in range(1, stem):
        with pytest.raises(WrongUse, match=f"{edge * stem + off} voxels .* no multiple of {stem}"):
            voxels.plan(edge * stem + off)


def test_the_papers_8_nm_network_has_728_nm_of_context() -> None:
    assert (FINER.context, FINER.trim) == (91, 0)
    assert 288 - 2 * FINER.context == 212 / 2


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(WrongUse, match="no input yields 50 voxels; expected such as 36 or 54"):
        PAPER.edge_for(50)
    with pytest.raises(WrongUse, match="does not fit"):
        PAPER.plan(100)
