"""Pores of the nuclear envelope, and nucleoli."""

import math

import numpy as np

from . import sizes
from .materials import Kind
from .scaffold import NUCLEUS, Scaffold, outward
from .shapes import Floats, ball, hole

MAX_PORES = 20_000  # a nucleus of 5 um has about 3,000
NUCLEOLI = 3  # of a whole nucleus; a window shows one


def place(scene: Scaffold) -> None:
    """Place pores on the envelope and nucleoli inside, where they are near the volume."""
    _pores(scene)
    _nucleoli(scene)


def on_shell(scene: Scaffold, at: Floats, level: float) -> tuple[Floats, Floats]:
    """Project a place onto a level surface of the nucleus; return it (nm) and the normal there."""
    for _ in range(4):
        d, normal = outward(scene, NUCLEUS, at)
        at = at + (level - d) * normal
    return at, outward(scene, NUCLEUS, at)[1]


def _pores(scene: Scaffold) -> None:
    draw = scene.draw(20)
    centre, radii = scene.bodies[NUCLEUS][:3], scene.bodies[NUCLEUS][3:6]
    p = 1.6075  # Thomsen's formula for the area of an ellipsoid, within 1.1 %
    a, b, c = radii**p
    area = 4.0 * math.pi * ((a * b + a * c + b * c) / 3.0) ** (1.0 / p) * 1e-6
    wanted = min(MAX_PORES, int(sizes.PORES_PER_UM2 * area))
    placed: dict[tuple[int, ...], list[Floats]] = {}
    for _ in range(wanted):
        at = centre + draw.vector() * radii
        if ((at < scene.low - 300.0) | (at > scene.high + 300.0)).any():
            continue
        at, normal = on_shell(scene, at, -sizes.ENVELOPE / 2)
        cell = tuple(int(v) for v in np.floor(at / sizes.PORE_GAP))
        near = [
            other
            for step in np.ndindex(3, 3, 3)
            for other in placed.get(tuple(c + s - 1 for c, s in zip(cell, step, strict=True)), ())
        ]
        if any(np.linalg.norm(at - other) < sizes.PORE_GAP for other in near):
            continue
        placed.setdefault(cell, []).append(at)
        owner = scene.add_thing("nuclear_pore", at)
        scene.add_primitive(hole(at, normal), Kind.PORE, owner)


def _nucleoli(scene: Scaffold) -> None:
    draw = scene.draw(21)
    least, most = sizes.NUCLEOLUS
    radius = float(np.clip(0.11 * scene.extent.min(), least, most))
    found: list[Floats] = []
    for _ in range(300):
        place = draw.point(0.0 * scene.extent, scene.extent)
        deep = -outward(scene, NUCLEUS, place)[0]
        apart = all(np.linalg.norm(place - other) > 3.0 * radius for other in found)
        if deep > radius * 1.25 + 60.0 and apart:
            found.append(place)
            owner = scene.add_thing("nucleolus", place)
            shape = ball(
                place, radius, draw.vector(), draw.uniform(0.8, 1.2), (0.1 * radius, radius)
            )
            scene.add_primitive(shape, Kind.NUCLEOLUS, owner)
            if len(found) == NUCLEOLI:
                return
        radius = max(least * 0.6, radius * 0.99)  # after a failure the next one is smaller
