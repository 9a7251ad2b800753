"""Microtubules: stiff lines from the centrosome that bend only at obstacles."""

from itertools import pairwise

import numpy as np

from . import sizes
from .hashing import Draw
from .materials import Kind
from .scaffold import Line, Scaffold, walk
from .shapes import Floats, capsule
from .space import along

STEP = 90.0  # nm
GAP = 4.0  # nm to organelles: motors bring them this near, so that contacts at 10 nm exist
# How much a step turns, at first and when something is in the way: a persistence length of tens of
# micrometres (Gittes et al. 1993: millimetres in isolation; in cells they buckle).
SPREADS = [0.03 + 0.07 * attempt for attempt in range(10)]
PER_CENTROSOME = (24, 260)  # in a small window, in a whole cell
SHORTEST = 5  # steps
MAX_STEPS = 250  # 22 um: across a cell


def place(scene: Scaffold, centre: Floats | None) -> None:
    """Grow microtubules from the centrosome, or from where it would be outside the volume."""
    draw = scene.draw(15)
    origin = 0.5 * scene.extent if centre is None else centre
    few, many = PER_CENTROSOME
    wanted = int(np.clip(few * (scene.cytoplasm_um3 / 4.0) ** (2.0 / 3.0), few, many))
    placed = 0
    for _ in range(12 * wanted):
        if placed == wanted:
            return
        heading = draw.vector()
        start = origin + heading * draw.uniform(240.0, 420.0)
        if centre is None:  # they cross the window
            start, heading = draw.point(scene.low, scene.high), _flattened(draw, heading)
        if scene.space.free(start, sizes.TUBULE_OUT, GAP):
            path = _path(scene, draw, start, heading)
            if len(path) > SHORTEST:
                _add_microtubule(scene, path)
                placed += 1


def _flattened(draw: Draw, heading: Floats) -> Floats:
    """Return a direction near the plane of the cell."""
    flat = heading * np.array([0.5, 1.0, 1.0]) + 0.1 * draw.vector()
    return np.asarray(flat / np.linalg.norm(flat))


def _path(scene: Scaffold, draw: Draw, start: Floats, heading: Floats) -> Floats:
    """Return the corners of a free path, ``(n, 3)`` nm."""

    def fits(behind: Floats, ahead: Floats) -> bool:
        span = along(np.array([behind, ahead]), 18.0)[1:]
        return scene.space.free(span, sizes.TUBULE_OUT, GAP)

    return walk(
        scene, draw, start, heading, steps=MAX_STEPS, step_nm=STEP, spreads=SPREADS, fits=fits
    )


def _add_microtubule(scene: Scaffold, path: Floats) -> None:
    radius = sizes.TUBULE_OUT
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    area = 2.0 * np.pi * radius * length
    owner = scene.add_thing("microtubule", path[len(path) // 2], area * radius / 2.0, area)
    for a, b in pairwise(path):
        scene.add_primitive(capsule(a, b, radius, radius), Kind.TUBULE, owner)
    scene.space.occupy(along(path, 18.0), radius, owner)
    number = scene.things[owner].number
    scene.lines.append(Line("microtubule", number, path, np.full(len(path), radius)))
