"""A growing volume: in which part its orientation is searched for; memory changes no bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.grid import Grid, Index
from fibstream.services.registration.answer import Answer, to_arrays
from fibstream.services.registration.coarse import coarse_of
from fibstream.services.registration.port import Image
from fibstream.services.registration.register import Start
from fibstream.services.registration.settings import Microscope, Settings
from fibstream.services.registration.starts import MAX_KEPT, Starts, part_of, start_key
from fibstream.services.registration.streamed import LEAST, Known, answer_of, known_of
from fibstream.services.registration.transform import Transform

from .made import EM_NM, made

pytestmark = pytest.mark.timeout(600)  # the first to run may wait for the compiler
BY = Microscope((300.0, 120.0)), Settings(candidates=4, angle_deg=8.0, scales=(1.0,))
CHUNK = (6, 36, 36)
NOWHERE = Start(Transform(np.eye(3), np.zeros(3)), 1.0)


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)), st.booleans(),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_part_is_that_of_whole_layers_whatever_the_order(
    count: Index, sealed: bool, random: Any
) -> None:
    z, y, x = count
    grid = Grid((4 * z if sealed else None, 4 * y, 4 * x), (4, 4, 4))
    every = list(Grid((4 * z, 4 * y, 4 * x), (4, 4, 4)).indices())
    known = random.sample(every, random.randint(1, len(every)))
    part = part_of(known, grid, LEAST)
    assert part == part_of(sorted(known), grid, LEAST)
    layers = 0
    while all((layers, b, c) in known for b in range(y) for c in range(x)):
        layers += 1
    wanted = max((2**k for k in range(5) if 2**k <= layers), default=0)
    share = wanted * y * x / len(every)
    if not wanted or (sealed and (len(known) == len(every) or share < LEAST)):
        assert part is None
    else:
        assert part == [cell for cell in every if cell[0] < wanted]


def test_a_volume_that_lands_layer_by_layer_is_searched_when_it_has_doubled() -> None:
    grid = Grid((64, 8, 8), (4, 4, 4))  # 16 layers of 4
    every = list(grid.indices())
    parts = [part_of(every[:n], grid, LEAST) for n in range(1, len(every) + 1)]
    assert [len(p) if p else 0 for p in parts] == [0] * 15 + [16] * 16 + [32] * 32 + [0]


class Counting(Starts):
    """Counts what was not remembered."""

    found = 0

    def of(self, key: str, find: Any) -> Start:
        def counted() -> Start:
            self.found += 1
            return find()

        return super().of(key, counted)


def known(layers: int) -> Known:
    """Return what is known when so many layers of the specimen have landed, of four."""
    whole = made().em.voxels.astype(np.uint8)
    grid, coarse = Grid(whole.shape, CHUNK), coarse_of(EM_NM, CHUNK)
    cells = {i: whole[grid.box(i).slices()] for i in grid.indices() if i[0] < layers}
    found = known_of(cells, grid, coarse, (0.0, 0.0, 0.0))
    assert found is not None
    return found


def same(one: Answer, two: Answer) -> bool:
    a, b = to_arrays(one), to_arrays(two)
    return a.keys() == b.keys() and all(a[n].tobytes() == b[n].tobytes() for n in a)


def test_a_start_that_is_remembered_spares_the_search_and_changes_no_bit() -> None:
    two, three = known(2), known(3)
    assert two.part is not None and three.part is not None
    assert np.array_equal(two.part.voxels, three.part.voxels)
    assert three.image.voxels.shape == three.landed.shape == (18, *made().em.voxels.shape[1:])
    assert known(4).part is None  # the last answer is searched for in everything
    starts = Counting()
    found = answer_of(three, made().light, BY, starts)
    warm = answer_of(three, made().light, BY, starts)
    assert starts.found == 1 and same(warm, found)
    assert warm.judgement.status == "registered" and warm.landed == 0.75
    assert warm.found is not None and warm.valid is not None
    points = made().points[made().points[:, 0] < 18 * EM_NM[0]]
    miss = warm.found.transform.to_light(points) - made().truth.to_light(points)
    assert np.median(np.linalg.norm(miss, axis=1)) < 80
    deep = int(18 * EM_NM[0] / warm.valid.voxel_nm[0])
    assert warm.valid.voxels.shape[0] == deep and warm.valid.voxels.any()
    lost = answer_of(three, made().light, BY, Wrong())  # a start that leads nowhere is not kept to
    assert same(lost, answer_of(three._replace(part=None), made().light, BY))
    assert not same(lost, warm)


class Wrong(Starts):
    """Says that the start is one that leads nowhere."""

    def of(self, key: str, find: Any) -> Start:
        return NOWHERE


def test_starts_are_remembered_by_all_that_they_are_made_of() -> None:
    em, light, (microscope, settings) = made().em, made().light, BY
    keys = {
        start_key(images, *by)
        for images, by in (
            ((em, light), BY), ((light, em), BY),
            ((Image(em.voxels, (9.0, 9.0, 9.0)), light), BY),
            ((Image(em.voxels, EM_NM, (1.0, 0.0, 0.0)), light), BY),
            ((Image(em.voxels[1:], EM_NM), light), BY),
            ((em, light), (Microscope((300.0, 121.0)), settings)),
            ((em, light), (microscope, Settings(window=(1.0, 2.0)))),
        )
    }  # fmt: skip
    assert len(keys) == 7
    starts = Counting()
    for n in (*range(MAX_KEPT), 0, MAX_KEPT, 0, 1):  # the one that was not used for longest goes
        starts.of(str(n), lambda: NOWHERE)
    assert starts.found == MAX_KEPT + 2
