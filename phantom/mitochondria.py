"""Mitochondria: bent tubes of swelling width, some branched, some lying against each other."""

import math
from dataclasses import dataclass

import numpy as np

from . import sizes
from .hashing import Draw
from .materials import Kind
from .scaffold import Line, Scaffold, across, walk
from .shapes import Floats, capsule
from .space import along

STEP = 60.0  # nm: short enough that the corners look like a bend
BEND = 0.22  # how much a step turns at first: a persistence length of about a micrometre
GAP = 22.0  # nm to everything else: less than a ribosome needs
# Of the cytoplasm; 10 % in HeLa cells (Posakony et al., J. Cell Biol. 74 (1977)).
VOLUME_FRACTION = 0.11
SHORTEST = 420.0  # nm; a shorter one looks like a ball
PAIRED, BRANCHED = 0.3, 0.35  # of the mitochondria get a neighbour that touches, a branch
OVERLAP = 2.0  # nm that the tubes of a pair overlap, so that they touch at any voxel size
SPREADS = [BEND * (1.0 + 0.25 * attempt) for attempt in range(14)]


@dataclass(frozen=True, slots=True)
class _Tube:
    points: Floats
    radii: Floats


def place(scene: Scaffold) -> None:
    """Fill the cytoplasm with mitochondria up to their share of its volume."""
    draw = scene.draw(10)
    wanted = VOLUME_FRACTION * scene.cytoplasm_um3 * 1e9
    filled, failures = 0.0, 0
    while filled < wanted and failures < 40:
        tube = _free_tube(scene, draw)
        if tube is None:
            failures += 1
            continue
        filled += _add_mitochondrion(scene, draw, tube)
        if draw.uniform() < PAIRED and (neighbour := _parallel_tube(scene, draw, tube)) is not None:
            filled += _add_mitochondrion(scene, draw, neighbour)


def _free_tube(scene: Scaffold, draw: Draw) -> _Tube | None:
    start = scene.free_place(draw, sizes.MITO_RADIUS[1], GAP)
    if start is None:
        return None
    radius = draw.uniform(*sizes.MITO_RADIUS)
    length = draw.uniform(*sizes.MITO_LENGTH)
    heading = draw.vector() * np.array([0.6, 1.0, 1.0])  # cells are flat, so tubes run flat too
    points = _path(scene, draw, start, heading / np.linalg.norm(heading), radius, length)
    if (len(points) - 1) * STEP < SHORTEST:
        return None
    return _Tube(points, _widths(draw, len(points), radius))


def _path(
    scene: Scaffold, draw: Draw, start: Floats, heading: Floats, radius: float, length: float
) -> Floats:
    """Return the corners of a free path for a tube, ``(n, 3)`` nm."""
    return walk(
        scene, draw, start, heading, steps=int(length / STEP), step_nm=STEP, spreads=SPREADS,
        fits=lambda _, ahead: scene.space.free(ahead, radius * 1.12, GAP),
    )  # fmt: skip


def _widths(draw: Draw, count: int, radius: float) -> Floats:
    """Return radii that swell and shrink by a tenth along the tube, and taper at both ends."""
    phase, wave = draw.uniform(0.0, 6.28), draw.uniform(500.0, 900.0)
    radii = radius * (1.0 + 0.1 * np.sin(phase + np.arange(count) * STEP * 6.28 / wave))
    if count > 4:
        radii[[0, -1]] *= 0.8
        radii[[1, -2]] *= 0.93
    return np.asarray(radii)


def _parallel_tube(scene: Scaffold, draw: Draw, tube: _Tube) -> _Tube | None:
    """Return a tube that runs along a stretch of another and touches it, or None."""
    count = len(tube.points)
    first = draw.integer(0, max(1, count // 3))
    last = min(count, first + draw.integer(8, 30))
    if last - first < 8:
        return None
    for _ in range(8):
        side = across(tube.points[last - 1] - tube.points[first], draw)
        radius = draw.uniform(*sizes.MITO_RADIUS)
        radii = _widths(draw, last - first, radius)
        apart = tube.radii[first:last] + radii - OVERLAP
        # After half its length it bends away, so that only a part of it touches.
        leave = np.linspace(-0.6, 1.0, last - first).clip(0.0) ** 2 * 120.0
        points = tube.points[first:last] + (apart + leave)[:, None] * side
        points = _pushed_apart(points, radii, tube)
        if scene.space.free(points, radii * 1.05, GAP, mine=len(scene.things) - 1):
            return _Tube(points, radii)
    return None


def _pushed_apart(points: Floats, radii: Floats, tube: _Tube) -> Floats:
    """Push the corners of a path away until none sinks into ``tube`` by more than OVERLAP."""
    for _ in range(6):
        apart = points[:, None, :] - tube.points[None]
        far = np.linalg.norm(apart, axis=2)
        overlap = radii[:, None] + tube.radii[None] - OVERLAP - far
        worst = overlap.argmax(axis=1)
        rows = np.arange(len(points))
        push = overlap[rows, worst].clip(0.0) / far[rows, worst]
        points = points + push[:, None] * apart[rows, worst]
    return points


def _add_mitochondrion(scene: Scaffold, draw: Draw, trunk: _Tube) -> float:
    """Add a mitochondrion, some with a branch; return its volume in nm3."""
    owner = scene.add_thing("mito", trunk.points[len(trunk.points) // 2], *_volume_and_area(trunk))
    volume = _volume_and_area(trunk)[0]
    _add_tube(scene, trunk, owner)
    if len(trunk.points) >= 10 and draw.uniform() < BRANCHED:
        fork = draw.integer(3, len(trunk.points) - 3)
        heading = across(trunk.points[fork + 1] - trunk.points[fork - 1], draw)
        radius = 0.9 * float(trunk.radii[fork])
        start = trunk.points[fork] + heading * (trunk.radii[fork] + radius + GAP + 40.0)
        if scene.space.free(start, radius * 1.12, GAP, mine=owner):
            rest = _path(scene, draw, start, heading, radius, draw.uniform(300.0, 1500.0))
            points = np.concatenate([trunk.points[fork : fork + 1], rest])
            if scene.space.free(along(points, 40.0), radius * 1.05, GAP, mine=owner):
                branch = _Tube(points, _widths(draw, len(points), radius))
                _add_tube(scene, branch, owner)
                thing = scene.things[owner]
                scene.things[owner] = type(thing)(thing.kind, thing.number, thing.centre)
                volume += _volume_and_area(branch)[0]
    return volume


def _add_tube(scene: Scaffold, tube: _Tube, owner: int) -> None:
    arc = 0.0
    for i in range(len(tube.points) - 1):
        a, b = tube.points[i], tube.points[i + 1]
        segment = capsule(a, b, float(tube.radii[i]), float(tube.radii[i + 1]), arc)
        scene.add_primitive(segment, Kind.MITO, owner)
        arc += float(np.linalg.norm(b - a))
    number = scene.things[owner].number
    scene.lines.append(Line("mito", number, tube.points, tube.radii))
    scene.space.occupy(*_spheres(tube), owner)


def _spheres(tube: _Tube) -> tuple[Floats, Floats]:
    """Return places and radii of spheres that cover a tube to within two nanometres."""
    both = np.column_stack([tube.points, tube.radii])
    fine = np.concatenate([both[:-1] + t * np.diff(both, axis=0) for t in (0.0, 0.5)] + [both[-1:]])
    return fine[:, :3], fine[:, 3] * 1.005


def _volume_and_area(tube: _Tube) -> tuple[float, float]:
    """Return volume and area of a tube of changing width with round ends.

    Cones along the line (Pappus: bends change neither, to first order) and half balls at the ends.
    """
    length = np.linalg.norm(np.diff(tube.points, axis=0), axis=1)
    r, s = tube.radii[:-1], tube.radii[1:]
    volume = math.pi / 3.0 * float((length * (r * r + r * s + s * s)).sum())
    area = math.pi * float(((r + s) * np.hypot(length, r - s)).sum())
    for end in (tube.radii[0], tube.radii[-1]):
        volume += 2.0 / 3.0 * math.pi * float(end) ** 3
        area += 2.0 * math.pi * float(end) ** 2
    return volume, area
