"""Landmarks: places visible in both microscopes whose stain is not used for registration."""

import numpy as np

from fibstream.phantom.hashing import Draw
from fibstream.phantom.phantom import Phantom
from fibstream.phantom.shapes import Floats

MAX_LANDMARKS = 300
STREAM = 45  # of the seed


def landmarks(phantom: Phantom, limit: int = MAX_LANDMARKS) -> Floats:
    """Return junctions of the reticulum inside a phantom, (n, 3) nm ``(z, y, x)``.

    Where more than two tubules meet; drawn from the seed when there are more than ``limit``.
    """
    places: dict[int, Floats] = {}
    degree: dict[int, int] = {}
    for line in phantom.lines:
        if line.kind != "er":
            continue
        for end, node in zip((0, -1), line.ends, strict=True):
            places[node] = line.points[end]
            degree[node] = degree.get(node, 0) + 1
    extent = np.array(phantom.spec.extent_nm)
    inside = [
        node for node in sorted(places)
        if degree[node] > 2 and ((places[node] >= 0) & (places[node] < extent)).all()
    ]  # fmt: skip
    draw = Draw(phantom.spec.seed, STREAM)
    chosen = sorted(sorted(inside, key=lambda _: draw.uniform())[:limit])
    return np.array([places[node] for node in chosen]).reshape(-1, 3)
