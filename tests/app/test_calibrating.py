"""Where a network is calibrated: one tile a place, on the lattice, within the volume."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fibstream.app.calibrating import places
from fibstream.core.grid import Box
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.tiling import tiles

edges = st.tuples(*[st.integers(1, 90)] * 3)


@given(edges, st.integers(0, 3), st.sampled_from([1, 2, 4]), st.integers(0, 5), st.integers(1, 9))
def test_a_place_is_the_output_of_one_tile(shape, phase, stride, halo, count) -> None:
    spec = ModelSpec(
        name="net", classes=("mito",), voxel_size_nm=(8, 8, 8), halo=(halo,) * 3,
        stride=(stride,) * 3, phase=(phase % stride,) * 3, tile=(16 + 2 * halo,) * 3, sha256="0",
    )  # fmt: skip
    found = places(shape, spec, count, 7)
    assert found == places(shape, spec, count, 7)
    assert 1 <= len(found) == len(set(found)) <= count
    whole = Box((0, 0, 0), shape)
    for core in found:
        assert core.meet(whole) == core and not core.empty
        fits = all(a >= 16 + 4 for a in shape)
        assert len(tiles(core, spec)) == 1 or core == whole
        assert not fits or core.shape == (16, 16, 16)


def test_places_are_all_over_a_volume() -> None:
    spec = ModelSpec(
        name="net", classes=("mito",), voxel_size_nm=(8, 8, 8), halo=(4,) * 3, stride=(2,) * 3,
        tile=(16,) * 3, sha256="0",
    )  # fmt: skip
    found = places((8, 100, 200), spec, 500, 0)
    starts = np.array([core.start for core in found])
    assert (starts.min(0) == 0).all() and (starts.max(0) == (0, 92, 192)).all()
    assert found != places((8, 100, 200), spec, 500, 1)
