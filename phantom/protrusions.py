"""What stands out of the plasma membrane: microvilli."""

import numpy as np

from .hashing import Draw
from .materials import Kind
from .scaffold import MEMBRANE, Scaffold, across
from .shapes import Floats, capsule, ellipsoid_distance

PER_UM2 = 0.7  # microvilli on a square micrometre; cells in culture have few (Alberts, chapter 16)
MAX_PROTRUSIONS = 3000  # of a whole cell
RADIUS = 48.0  # nm: about 100 nm thick (Alberts)
LENGTH = (300.0, 1100.0)  # nm
STEP = 60.0
ROOT = 60.0  # nm below the membrane at which one begins
BENT = 0.12


def place(scene: Scaffold) -> None:
    """Let microvilli grow from random places of the membrane that are in the room."""
    draw = scene.draw(17)
    owner = scene.add("plasma_membrane", scene.bodies[MEMBRANE][:3])
    area = float(np.prod(scene.high - scene.low) / (scene.high - scene.low).min()) * 1e-6
    for _ in range(min(MAX_PROTRUSIONS, round(4.0 * PER_UM2 * area))):
        at = draw.point(scene.low, scene.high)
        d, normal = _outward(scene, at)
        if abs(d) > 700.0:
            continue
        for _ in range(4):
            d, normal = _outward(scene, at)
            at = at + (-ROOT - d) * normal
        if draw.uniform() < 0.5:
            _grow(scene, draw, at, normal, owner)


def _outward(scene: Scaffold, at: Floats) -> tuple[float, Floats]:
    """Return the distance of a place to the plasma membrane, and the unit gradient there."""
    body, key = scene.bodies[MEMBRANE], scene.keys[MEMBRANE]
    d = ellipsoid_distance(body, key, *at)
    slope = np.array([ellipsoid_distance(body, key, *(at + s)) - d for s in 2.0 * np.eye(3)])
    return d, slope / np.linalg.norm(slope)


def _grow(scene: Scaffold, draw: Draw, at: Floats, normal: Floats, owner: int) -> None:
    heading = normal + 0.5 * draw.uniform() * across(normal, draw)
    heading /= np.linalg.norm(heading)
    radius = RADIUS * draw.uniform(0.85, 1.15)
    for _ in range(int(draw.uniform(*LENGTH) / STEP)):
        ahead = at + STEP * heading
        scene.put(capsule(at, ahead, radius, radius), Kind.PM, owner)
        heading = heading + BENT * draw.vector()
        heading /= np.linalg.norm(heading)
        at = ahead
