"""Microvilli of the plasma membrane."""

import numpy as np

from .hashing import Draw
from .materials import Kind
from .scaffold import MEMBRANE, Scaffold, across, outward
from .shapes import Floats, capsule

PER_UM2 = 0.7  # microvilli on a square micrometre; cells in culture have few (Alberts, chapter 16)
MAX_PROTRUSIONS = 3000  # of a whole cell
RADIUS = 48.0  # nm: about 100 nm thick (Alberts)
LENGTH = (300.0, 1100.0)  # nm
STEP = 60.0
ROOT = 60.0  # nm below the membrane at which one begins
BEND = 0.12


def place(scene: Scaffold) -> None:
    """Place microvilli at random places of the plasma membrane near the volume."""
    draw = scene.draw(17)
    owner = scene.add_thing("plasma_membrane", scene.bodies[MEMBRANE][:3])
    area = float(np.prod(scene.high - scene.low) / (scene.high - scene.low).min()) * 1e-6
    for _ in range(min(MAX_PROTRUSIONS, round(4.0 * PER_UM2 * area))):
        at = draw.point(scene.low, scene.high)
        d, normal = outward(scene, MEMBRANE, at)
        if abs(d) > 700.0:
            continue
        for _ in range(4):
            d, normal = outward(scene, MEMBRANE, at)
            at = at + (-ROOT - d) * normal
        if draw.uniform() < 0.5:
            _add_microvillus(scene, draw, at, normal, owner)


def _add_microvillus(scene: Scaffold, draw: Draw, at: Floats, normal: Floats, owner: int) -> None:
    heading = normal + 0.5 * draw.uniform() * across(normal, draw)
    heading /= np.linalg.norm(heading)
    radius = RADIUS * draw.uniform(0.85, 1.15)
    for _ in range(int(draw.uniform(*LENGTH) / STEP)):
        ahead = at + STEP * heading
        scene.add_primitive(capsule(at, ahead, radius, radius), Kind.PM, owner)
        heading = heading + BEND * draw.vector()
        heading /= np.linalg.norm(heading)
        at = ahead
