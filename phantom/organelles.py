"""Centrosome, Golgi stacks, droplets, lysosomes, endosomes and vesicles."""

import math

import numpy as np

from . import sizes
from .hashing import Draw
from .materials import Kind
from .scaffold import Scaffold, across
from .shapes import Floats, ball, barrel, disc
from .space import along

GAP = 16.0  # nm between organelles that do not touch
# How many in a cubic micrometre of cytoplasm: of the order that stereology of cultured cells
# gives (Griffiths et al., J. Cell Biol. 109 (1989)), rounded up so that small windows show some.
STACKS, DROPLETS, LYSOSOMES, ENDOSOMES, VESICLES = 0.12, 0.25, 0.3, 0.35, 14.0


def place_centrosome(scene: Scaffold) -> Floats | None:
    """Place two centrioles at a right angle near the nucleus; return the place between them."""
    draw = scene.draw(11)
    reach = sizes.CENTRIOLE + sizes.APPENDAGE
    best, clearance = None, 0.0
    for _ in range(400):
        place = draw.point(0.15 * scene.extent, 0.85 * scene.extent)
        free = min(float(scene.space.clearance(place)[0]), 700.0)
        if free > clearance:
            best, clearance = place, free
    if best is None or clearance < reach + 40.0:
        return None
    owner = scene.add_thing("centrosome", best)
    axis = draw.vector()
    half = sizes.CENTRIOLE_LENGTH / 2
    for number in range(2):
        side = across(axis, draw)
        centre = best + (side * 0.0 if number == 0 else axis * (half + sizes.CENTRIOLE + 60.0))
        way = axis if number == 0 else side
        ends = centre + np.outer([-half, half], way)
        cover = along(ends, 60.0)
        if not scene.space.free(cover, reach, 0.0, mine=owner):
            continue
        shape = barrel(centre, way, across(way, draw), half, sizes.CENTRIOLE, number == 0)
        scene.add_primitive(shape, Kind.CENTROSOME, owner)
        scene.space.occupy(cover, reach, owner)
    return best


def place_golgi(scene: Scaffold, near: Floats | None) -> None:
    """Place stacks of bent cisternae, the first ones near the centrosome."""
    draw = scene.draw(12)
    wanted = max(1, round(STACKS * scene.cytoplasm_um3))
    for _ in range(30 * wanted):
        if scene.counts.get("golgi", 0) >= wanted:
            return
        centre = draw.point(scene.low, scene.high)
        if near is not None and draw.uniform() < 0.7:
            centre = near + draw.vector() * draw.uniform(500.0, 1500.0)
        _add_stack(scene, draw, centre)


def _add_stack(scene: Scaffold, draw: Draw, centre: Floats) -> None:
    axis, bend = draw.vector(), draw.uniform(500.0, 1100.0)
    count = draw.integer(sizes.GOLGI_CISTERNAE[0], sizes.GOLGI_CISTERNAE[1] + 1)
    widest = draw.uniform(*sizes.GOLGI_RADIUS)
    sheets = []
    for n in range(count):
        offset = (n - (count - 1) / 2) * sizes.GOLGI_STEP
        radius = widest * draw.uniform(0.8, 1.05) * (1.0 - 0.03 * n)
        tilt = across(axis, draw) * draw.uniform(0.0, 25.0)  # no stack is straight
        # All are bent round one point, so that neighbours stay parallel.
        sheets.append((centre + axis * offset + tilt, bend + offset, radius))
    cover = np.concatenate([disc_points(c, axis, b, r) for c, b, r in sheets])
    reach = sizes.GOLGI_HALF + 8.0
    if not scene.space.free(cover, reach, GAP):
        return
    owner = scene.add_thing("golgi", centre)
    for middle, curve, radius in sheets:
        # The centre of curvature is shared; a tilt moves the disc along the shell.
        pole = centre - axis * bend
        way = (middle - pole) / np.linalg.norm(middle - pole)
        sheet = disc(
            pole + way * curve, way, curve, radius, sizes.GOLGI_HALF, rim=5.0, wobble=(5.0, 160.0)
        )
        scene.add_primitive(sheet, Kind.GOLGI, owner)
    scene.space.occupy(cover, reach, owner)


def disc_points(centre: Floats, axis: Floats, curve: float, radius: float) -> Floats:
    """Return points, (n, 3) nm, 45 nm apart on a bent disc and closer on its rim."""
    pole = centre - axis * curve
    u = np.cross(axis, [0.0, 0.6, 0.8] if abs(axis[0]) > 0.5 else [1.0, 0.0, 0.0])
    u /= np.linalg.norm(u)
    v = np.cross(axis, u)
    grid = np.arange(-radius, radius + 1.0, 45.0)
    a, b = (g.ravel() for g in np.meshgrid(grid, grid))
    keep = np.hypot(a, b) <= radius
    rim = np.linspace(0.0, 2.0 * math.pi, max(6, int(radius / 7.0)))
    a, b = np.append(a[keep], radius * np.cos(rim)), np.append(b[keep], radius * np.sin(rim))
    down = np.sqrt(np.maximum(curve**2 - a**2 - b**2, 0.0))
    return np.asarray(pole + np.outer(a, u) + np.outer(b, v) + np.outer(down, axis))


def place_balls(scene: Scaffold, organelles: frozenset[str]) -> None:
    """Place droplets, lysosomes and endosomes: balls, each with its own irregularity."""
    for stream, (kind, name, density, radii) in enumerate(
        (
            (Kind.LD, "LD", DROPLETS, sizes.DROPLET),
            (Kind.LYSOSOME, "lysosome", LYSOSOMES, sizes.LYSOSOME),
            (Kind.MVB, "MVB", ENDOSOMES, sizes.MVB),
        )
    ):
        if name not in organelles:
            continue
        draw = scene.draw(13, stream)
        for _ in range(max(1, round(density * scene.cytoplasm_um3))):
            radius = draw.uniform(*radii)
            stretch = 1.0 if kind == Kind.LD else draw.uniform(0.85, 1.3)
            amplitude = 0.0 if kind == Kind.LD else draw.uniform(0.02, 0.07) * radius
            reach = radius * max(1.0, stretch) + amplitude
            place = scene.free_place(draw, reach, GAP)
            if place is None:
                continue
            exact = (_volume_and_area(radius)) if kind == Kind.LD else (math.nan, math.nan)
            owner = scene.add_thing(name, place, *exact)
            shape = ball(place, radius, draw.vector(), stretch, (amplitude, 1.1 * radius))
            scene.add_primitive(shape, kind, owner)
            scene.space.occupy(place, reach, owner)


def place_vesicles(scene: Scaffold) -> None:
    """Place vesicles, two of three in the neighbourhood of a Golgi stack if there is one."""
    draw = scene.draw(14)
    stacks = [np.array(thing.centre) for thing in scene.things if thing.kind == "golgi"]
    for _ in range(round(VESICLES * scene.cytoplasm_um3)):
        radius = draw.uniform(*sizes.VESICLE)
        place: Floats | None = None
        if stacks and draw.uniform() < 0.4:
            stack = stacks[draw.integer(0, len(stacks))]
            near = stack + draw.vector() * draw.uniform(150.0, 650.0)
            place = near if scene.space.free(near, radius, 6.0) else None
        else:
            place = scene.free_place(draw, radius, 6.0, tries=12)
        if place is not None:
            owner = scene.add_thing("vesicle", place, *_volume_and_area(radius))
            scene.add_primitive(ball(place, radius), Kind.VESICLE, owner)
            scene.space.occupy(place, radius, owner)


def _volume_and_area(radius: float) -> tuple[float, float]:
    return 4.0 / 3.0 * math.pi * radius**3, 4.0 * math.pi * radius**2
