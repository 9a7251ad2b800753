"""Mitochondria: bent tubes of swelling width, some branched, some lying against each other."""

import math
from dataclasses import dataclass

import numpy as np

from . import sizes
from .hashing import Draw
from .materials import Kind
from .scaffold import Line, Scaffold, across
from .shapes import Floats, capsule
from .space import along

STEP = 60.0  # nm: a corner of the tube turns little enough to look bent
BEND = 0.22  # how much one step turns: a persistence length of about a micrometre
GAP = 22.0  # to everything else: room for a ribosome is left out on purpose in places
SHARE = 0.11  # of the cytoplasm; 10 % in HeLa cells (Posakony et al., J. Cell Biol. 74 (1977))
SHORTEST = 420.0  # nm; less looks like a ball
PAIRED, BRANCHED = 0.3, 0.35  # of the mitochondria get a neighbour that touches, a branch
OVERLAP = 2.0  # nm that the tubes of a pair sink into each other: they touch in every sampling
TRIES = 14


@dataclass(frozen=True, slots=True)
class _Tube:
    points: Floats
    radii: Floats


def place(scene: Scaffold) -> None:
    """Fill the cytoplasm with mitochondria to their share of it."""
    draw = scene.draw(10)
    wanted = SHARE * scene.cytoplasm_um3 * 1e9
    filled, failures = 0.0, 0
    while filled < wanted and failures < 40:
        tube = _free_tube(scene, draw)
        if tube is None:
            failures += 1
            continue
        filled += _settle(scene, draw, [tube])
        if draw.uniform() < PAIRED and (twin := _beside(scene, draw, tube)) is not None:
            filled += _settle(scene, draw, [twin])


def _free_tube(scene: Scaffold, draw: Draw) -> _Tube | None:
    start = scene.somewhere(draw, sizes.MITO_RADIUS[1], GAP)
    if start is None:
        return None
    radius = draw.uniform(*sizes.MITO_RADIUS)
    length = draw.uniform(*sizes.MITO_LENGTH)
    heading = draw.vector() * np.array([0.6, 1.0, 1.0])  # cells are flat, and so run their tubes
    points = _walk(scene, draw, start, heading / np.linalg.norm(heading), radius, length)
    if (len(points) - 1) * STEP < SHORTEST:
        return None
    return _Tube(points, _widths(draw, len(points), radius))


def _walk(
    scene: Scaffold, draw: Draw, start: Floats, heading: Floats, radius: float, length: float
) -> Floats:
    """Return the corners of a free path that steers round what is in its way."""
    points = [start]
    for _ in range(int(length / STEP)):
        for attempt in range(TRIES):
            spread = BEND * (1.0 + 0.25 * attempt)
            turned = heading + spread * draw.vector()
            turned /= np.linalg.norm(turned)
            ahead = points[-1] + STEP * turned
            if scene.space.free(ahead, radius * 1.12, GAP):
                heading = turned
                points.append(ahead)
                break
        else:
            break
        if ((points[-1] < scene.low) | (points[-1] > scene.high)).any():
            break
    return np.array(points)


def _widths(draw: Draw, count: int, radius: float) -> Floats:
    """Return radii that swell and shrink by a tenth along the tube, and taper at both ends."""
    phase, wave = draw.uniform(0.0, 6.28), draw.uniform(500.0, 900.0)
    radii = radius * (1.0 + 0.1 * np.sin(phase + np.arange(count) * STEP * 6.28 / wave))
    if count > 4:
        radii[[0, -1]] *= 0.8
        radii[[1, -2]] *= 0.93
    return np.asarray(radii)


def _beside(scene: Scaffold, draw: Draw, tube: _Tube) -> _Tube | None:
    """Return a tube that runs along a stretch of another and touches it, or None."""
    count = len(tube.points)
    first = draw.whole(0, max(1, count // 3))
    last = min(count, first + draw.whole(8, 30))
    if last - first < 8:
        return None
    for _ in range(8):
        side = across(tube.points[last - 1] - tube.points[first], draw)
        radius = draw.uniform(*sizes.MITO_RADIUS)
        radii = _widths(draw, last - first, radius)
        apart = tube.radii[first:last] + radii - OVERLAP
        # Half-way along the twin leaves its neighbour, so that not its whole length touches.
        leave = np.linspace(-0.6, 1.0, last - first).clip(0.0) ** 2 * 120.0
        points = tube.points[first:last] + (apart + leave)[:, None] * side
        points = _lifted(points, radii, tube)
        if scene.space.free(points, radii * 1.05, GAP, mine=len(scene.things) - 1):
            return _Tube(points, radii)
    return None


def _lifted(points: Floats, radii: Floats, tube: _Tube) -> Floats:
    """Push the corners of a path away until none sinks into ``tube`` by more than OVERLAP."""
    for _ in range(6):
        apart = points[:, None, :] - tube.points[None]
        far = np.linalg.norm(apart, axis=2)
        sunk = radii[:, None] + tube.radii[None] - OVERLAP - far
        worst = sunk.argmax(axis=1)
        rows = np.arange(len(points))
        push = sunk[rows, worst].clip(0.0) / far[rows, worst]
        points = points + push[:, None] * apart[rows, worst]
    return points


def _settle(scene: Scaffold, draw: Draw, tubes: list[_Tube]) -> float:
    """Enter a mitochondrion, perhaps with a branch; return its volume in nm3."""
    trunk = tubes[0]
    owner = scene.add("mito", trunk.points[len(trunk.points) // 2], *_measure(trunk))
    volume = _measure(trunk)[0]
    _enter(scene, trunk, owner)
    if len(trunk.points) >= 10 and draw.uniform() < BRANCHED:
        fork = draw.whole(3, len(trunk.points) - 3)
        heading = across(trunk.points[fork + 1] - trunk.points[fork - 1], draw)
        radius = 0.9 * float(trunk.radii[fork])
        start = trunk.points[fork] + heading * (trunk.radii[fork] + radius + GAP + 40.0)
        if scene.space.free(start, radius * 1.12, GAP, mine=owner):
            rest = _walk(scene, draw, start, heading, radius, draw.uniform(300.0, 1500.0))
            points = np.concatenate([trunk.points[fork : fork + 1], rest])
            if scene.space.free(along(points, 40.0), radius * 1.05, GAP, mine=owner):
                branch = _Tube(points, _widths(draw, len(points), radius))
                _enter(scene, branch, owner)
                thing = scene.things[owner]
                scene.things[owner] = type(thing)(thing.kind, thing.number, thing.centre)
                volume += _measure(branch)[0]
    return volume


def _enter(scene: Scaffold, tube: _Tube, owner: int) -> None:
    arc = 0.0
    for i in range(len(tube.points) - 1):
        a, b = tube.points[i], tube.points[i + 1]
        piece = capsule(a, b, float(tube.radii[i]), float(tube.radii[i + 1]), arc)
        scene.put(piece, Kind.MITO, owner)
        arc += float(np.linalg.norm(b - a))
    number = scene.things[owner].number
    scene.lines.append(Line("mito", number, tube.points, tube.radii))
    scene.space.take(*_spheres(tube), owner)


def _spheres(tube: _Tube) -> tuple[Floats, Floats]:
    """Return places and radii of spheres that cover a tube to within two nanometres."""
    both = np.column_stack([tube.points, tube.radii])
    fine = np.concatenate([both[:-1] + t * np.diff(both, axis=0) for t in (0.0, 0.5)] + [both[-1:]])
    return fine[:, :3], fine[:, 3] * 1.005


def _measure(tube: _Tube) -> tuple[float, float]:
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
