"""elastix in a process of its own: its B-spline is read right, what fails is said in one line."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from fibstream.services.registration.edges.elastix import deformed_by_elastix
from fibstream.services.registration.port import Image
from fibstream.services.registration.transform import Transform

SHAPE, NM, CORNER = (16, 40, 44), (200.0, 150.0, 100.0), (300.0, -200.0, 70.0)


def pair() -> tuple[Image, Image, np.ndarray]:
    """Return an image, the same displaced smoothly, and by how many nm, (*SHAPE, 3)."""
    noise = gaussian_filter(np.random.default_rng(2).normal(0, 1, SHAPE), 1.5)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1).astype(float)
    move = np.stack([0 * index[..., 1], 1.2 * np.cos(index[..., 2] / 9),
                     2.0 * np.sin(index[..., 1] / 8)], -1)  # fmt: skip
    seen = map_coordinates(noise, np.moveaxis(index - move, -1, 0), order=3, mode="nearest")
    em, light = (((v - v.min()) / np.ptp(v)).astype(np.float32) for v in (noise, seen))
    return Image(em, NM, CORNER), Image(light, NM, CORNER), move * NM


def test_a_smooth_displacement_is_found_in_nanometres_and_the_right_axes() -> None:
    em, light, move = pair()
    found = deformed_by_elastix(em, light, Transform(np.eye(3), np.zeros(3)), "elastix-bending")
    inner = (slice(5, -5), slice(8, -8), slice(8, -8))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)[inner]
    places = np.array(CORNER) + (index.reshape(-1, 3) + 0.5) * np.array(NM)
    got = found.to_light(places) - places
    wanted = move[inner].reshape(-1, 3)
    assert np.linalg.norm(wanted, axis=1).mean() > 150
    assert np.median(np.linalg.norm(got - wanted, axis=1)) < 60
