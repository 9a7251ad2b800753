"""Laws: chunks of any shape stitch to the whole volume, bit for bit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.grid import Box, Grid, Index
from fibstream.core.stage import Patch
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.port import Engine, ModelSpec
from fibstream.services.inference.tiling import finer_shape, halo_of, predict, tiles, waste

from ..support.engines import TinyEngine
from ..support.geometry import triple
from .net import FINER_METADATA, finer, overlapping, write_net

Engines = tuple[Engine, ...]
# Outputs of 10 voxels, which are no multiple of the stride: every tile keeps 8.
OVERLAP = {"halo": [6] * 3, "stride": [4] * 3, "phase": [3, 0, 2], "tile": [22] * 3}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    folder = tmp_path_factory.mktemp("net")
    return (
        CpuEngine(write_net(folder / "phase0.onnx")),
        CpuEngine(write_net(folder / "phase1.onnx", phase=[1, 0, 3], tile=[10, 16, 12])),
        TinyEngine(("mito", "er")),
        CpuEngine(write_net(folder / "finer.onnx", body=finer, **FINER_METADATA)),
        CpuEngine(write_net(folder / "overlap.onnx", body=overlapping, **FINER_METADATA | OVERLAP)),
    )  # fmt: skip


def block(
    volume: NDArray[Any], grid: Grid, index: Index, spec: ModelSpec, absent: Sequence[Box] = ()
) -> Patch:
    box = grid.block(index, halo_of(spec))
    inside = tuple(hole for hole in (a.meet(box) for a in absent) if not hole.empty)
    array = volume[box.slices()].copy()
    for hole in inside:
        array[hole.slices(box.start)] = 0
    return Patch(array, box, inside)


def stitched(
    volume: NDArray[Any], chunk: Index, engine: Engine, absent: Sequence[Box] = (), fill: int = 0
) -> NDArray[np.uint8]:
    grid = Grid(volume.shape, chunk)
    spec = engine.spec
    out = np.full((len(spec.classes), *finer_shape(volume.shape, spec)), 99, np.uint8)
    for index in grid.indices():
        core = grid.box(index)
        patch = block(volume, grid, index, spec, absent)
        fine = Box(finer_shape(core.start, spec), finer_shape(core.stop, spec))
        out[:, *fine.slices()] = predict(patch, core, engine, fill=fill)
    return out


shapes = st.tuples(*[st.integers(1, 21)] * 3)


@settings(max_examples=40, deadline=None)
@given(st.data(), shapes, shapes, st.integers(0, 255), st.integers(0, 4))
def test_any_chunking_and_any_fill_equals_the_whole_volume(
    engines: Engines, data: st.DataObject, shape: Index, chunk: Index, fill: int, which: int
) -> None:
    volume = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, shape, np.uint8)
    chunk = triple(min(max(c, 6), s) for c, s in zip(chunk, shape, strict=True))
    whole = stitched(volume, shape, engines[which])
    assert np.array_equal(stitched(volume, chunk, engines[which], fill=fill), whole)


@pytest.mark.parametrize("which", range(5))
def test_the_whole_equals_one_reflected_volume(engines: Engines, which: int) -> None:
    engine, volume = (
        engines[which],
        np.random.default_rng(3).integers(0, 256, (3, 13, 17), np.uint8),
    )
    spec, margin = engine.spec, 40
    around = np.pad(volume, margin, mode="reflect")
    far = Box((margin,) * 3, tuple(margin + n for n in volume.shape))
    # Shifted by a multiple of every stride, far from any border: no reflection of our own.
    reach = far.grow(halo_of(spec))
    naive = predict(Patch(around[reach.slices()], reach), far, engine)
    assert np.array_equal(stitched(volume, volume.shape, engine), naive)


def test_thin_volumes_are_reflected_again_and_again(engines: Engines) -> None:
    volume = np.random.default_rng(4).integers(0, 256, (2, 1, 15), np.uint8)
    index = [
        np.abs((np.arange(-8, n + 8) + n - 1) % max(2 * (n - 1), 1) - (n - 1)) for n in (2, 1, 15)
    ]
    folded = volume[np.ix_(*index)]
    core = Box((8, 8, 8), (10, 9, 23))
    spec = engines[0].spec
    reach = core.grow(halo_of(spec))
    naive = predict(Patch(folded[reach.slices()], reach), core, engines[0])
    assert np.array_equal(stitched(volume, (1, 1, 7), engines[0]), naive)


@pytest.mark.parametrize("which", [0, 1, 3, 4])
def test_the_halo_is_the_smallest_that_does(engines: Engines, which: int) -> None:
    """Every face of the halo is read by some chunk: one voxel less would change results."""
    engine = engines[which]
    halo = halo_of(engine.spec)
    rng = np.random.default_rng(5)
    changed = np.zeros((3, 2), bool)
    for offset in range(engine.spec.stride[0]):
        core = Box((30 + offset,) * 3, (37 + offset,) * 3)
        box = core.grow(halo)
        grey = rng.integers(0, 256, box.shape, np.uint8)
        for axis, side in np.ndindex(3, 2):
            other = np.moveaxis(grey.copy(), axis, 0)
            other[-side] = 255 - other[-side]
            patches = (Patch(a, box) for a in (grey, np.moveaxis(other, 0, axis)))
            before, after = (predict(p, core, engine) for p in patches)
            changed[axis, side] |= not np.array_equal(before, after)
    assert changed.all()


@pytest.mark.parametrize("which", [0, 4])
@pytest.mark.parametrize("chunk", [(8, 10, 7), (3, 4, 2)])
def test_absent_voxels_are_zero_and_read_as_zero(
    engines: Engines, chunk: Index, which: int
) -> None:
    volume = np.random.default_rng(6).integers(1, 256, (20, 19, 22), np.uint8)
    grid = Grid(volume.shape, chunk)
    absent = [grid.box((1, 0, 1)), grid.box((2, 1, 3))]
    engine = engines[which]
    found = stitched(volume, grid.chunk, engine, absent)
    holes = np.zeros(volume.shape, bool)
    for box in absent:
        holes[box.slices()] = True
    zeroed = np.where(holes, 0, volume).astype(np.uint8)
    for axis, factor in enumerate(engine.spec.finer):
        holes = np.repeat(holes, factor, axis)
    assert not found[:, holes].any()
    assert np.array_equal(found[:, ~holes], stitched(zeroed, volume.shape, engine)[:, ~holes])
    assert np.array_equal(found, stitched(volume, volume.shape, engine, absent))


def test_an_absent_box_beside_the_core_takes_nothing_away(engines: Engines) -> None:
    core = Box((10, 10, 10), (18, 18, 18))
    box = core.grow(halo_of(engines[0].spec))
    grey = np.full(box.shape, 200, np.uint8)
    hole = Box((5, 10, 10), (7, 18, 18))
    plain, holed = (predict(Patch(grey, box, a), core, engines[0]) for a in ((), (hole,)))
    assert np.array_equal(plain, holed)


def test_a_finer_output_lies_over_its_input_from_corner_to_corner(engines: Engines) -> None:
    """One voxel of raw changes what is within the network's reach of it, on both sides alike."""
    engine = engines[3]
    grey, middles = np.full((40, 40, 40), 90, np.uint8), []
    for at in range(16, 20):  # all places on the lattice
        other = grey.copy()
        other[at, at, at] = 255
        before, after = (stitched(g, g.shape, engine) for g in (grey, other))
        z, y, x = np.nonzero((before != after).any(0))
        for places, factor in zip((z, y, x), engine.spec.finer, strict=True):
            middle = (places.min() + places.max() + 1) / 2 / factor
            middles.append(middle - (at + 0.5))
    assert np.abs(middles).max() <= 1 and abs(np.mean(middles)) < 0.2, middles


def spec_of(halo: Index, stride: Index, phase: Index, cells: Index) -> ModelSpec:
    output = [s * c for s, c in zip(stride, cells, strict=True)]
    return ModelSpec(
        name="any", classes=("a",), voxel_size_nm=(1, 1, 1), halo=halo, stride=stride,
        phase=phase, sha256="", tile=triple(o + 2 * h for o, h in zip(output, halo, strict=True)),
    )  # fmt: skip


triples = st.tuples(*[st.integers(1, 9)] * 3)


@given(triples, triples, triples, triples, st.tuples(*[st.integers(-50, 50)] * 3), triples)
def test_tiles_cover_the_core_on_the_lattice_and_none_is_idle(
    halo: Index, stride: Index, phase: Index, cells: Index, start: Index, size: Index
) -> None:
    spec = spec_of(halo, stride, phase, cells)
    core = Box(start, triple(a + n for a, n in zip(start, size, strict=True)))
    starts = tiles(core, spec)
    assert starts == sorted(set(starts))
    for axis in range(3):
        along = sorted({origin[axis] for origin in starts})
        assert all((a - phase[axis]) % stride[axis] == 0 for a in along)
        first = along[0] + halo[axis]
        last = along[-1] + halo[axis]
        assert first <= core.start[axis] < first + stride[axis]
        assert last < core.stop[axis] <= last + spec.output[axis]
        assert np.all(np.diff(along) == spec.output[axis])


def test_waste_is_one_for_a_chunk_that_fits_and_counts_tiles_otherwise() -> None:
    spec = spec_of((24,) * 3, (4,) * 3, (0,) * 3, (16,) * 3)
    assert waste(spec, (64, 64, 64)) == 1
    assert waste(spec, (64, 64, 32)) == 2
    assert waste(spec, (65, 64, 64)) == pytest.approx(2 * 64 / 65)
    # 62 at 0, 62, 124 and 186: cells of 4 start 0, 2, 0 and 2 before; two of them fill 64 exactly.
    assert waste(spec, (62, 64, 64)) == pytest.approx(64 / 62)
    assert waste(spec, (63, 64, 64)) == pytest.approx((1 + 2 + 2 + 1) / 4 * 64 / 63)
