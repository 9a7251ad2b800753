"""Surfaces of objects: closed, around their voxels, and where the object lies."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fibstream.cli.viewer.opening import open_viewable
from fibstream.cli.viewer.surface import surface

from .viewing import BOXES, FIRST, SECOND, VOXEL_NM


def volume_of(vertices: NDArray[np.float32], triangles: NDArray[np.uint32]) -> float:
    """Return the signed volume inside a surface, in (x, y, z)."""
    a, b, c = (vertices[:, ::-1].astype(np.float64)[triangles[:, n]] for n in range(3))
    return float((a * np.cross(b, c)).sum()) / 6


def test_a_ball_has_its_surface_and_its_volume() -> None:
    z, y, x = np.indices((31, 31, 31)) - 15
    ball = z**2 + y**2 + x**2 < 12**2
    vertices, triangles = surface(ball)
    assert volume_of(vertices, triangles) == pytest.approx(int(ball.sum()), rel=0.01)
    radius = np.linalg.norm(vertices - 15, axis=1)
    assert radius.min() > 11.3
    assert radius.max() < 12.5


@given(arrays(bool, st.tuples(*[st.integers(1, 5)] * 3)))
def test_every_surface_is_closed_and_around_its_voxels(inside: NDArray[np.bool_]) -> None:
    vertices, triangles = surface(inside)
    edges = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    # Each edge is walked as often one way as the other: no hole, and one side is outside.
    there, back = (sorted(map(tuple, e.tolist())) for e in (edges, edges[:, ::-1]))
    assert there == back
    assert bool(len(triangles)) == bool(inside.any())
    if inside.any():
        places = np.argwhere(inside)
        assert (vertices > places.min(0) - 1).all() and (vertices < places.max(0) + 1).all()
        assert volume_of(vertices, triangles) > 0


def test_a_mesh_lies_where_the_object_does(finished: Path) -> None:
    data = open_viewable(str(finished)).mesh("labels/mito", SECOND)
    assert data is not None
    count = int(np.frombuffer(data[:4], "<u4")[0])
    vertices = np.frombuffer(data[4 : 4 + 12 * count], "<f4").reshape(-1, 3)[:, ::-1]
    start, stop = (np.array(end) for end in BOXES[1])
    assert vertices.min(0) / VOXEL_NM == pytest.approx(start - 0.5, abs=0.3)
    assert vertices.max(0) / VOXEL_NM == pytest.approx(stop - 0.5, abs=0.3)
    triangles = np.frombuffer(data[4 + 12 * count :], "<u4")
    assert len(triangles) % 3 == 0 and triangles.max() == count - 1


def test_an_object_without_a_row_has_no_mesh(finished: Path) -> None:
    for number in (0, FIRST + 1, 2**64 - 1, 2**64, 10**19 * 9):
        assert open_viewable(str(finished)).mesh("labels/mito", number) is None
