"""A scene under construction: its two large bodies, free space, and what was placed so far."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import sizes
from .hashing import Draw, key_of
from .materials import Kind
from .shapes import Floats, Prim, ellipsoid_distance
from .space import Space

MARGIN = 400.0  # nm beyond the volume: organelles are placed there too, so that faces cut some
PROBES = 3000  # random places that estimate the volume of the cytoplasm to 2 %, enough for counts
KEYS = 8  # independent noises: nucleus, plasma membrane, wobble, chromatin, cristae, ...
NUCLEUS, MEMBRANE, WOBBLE, CHROMATIN, INSIDE, RIBOSOMES, GRAIN, IMAGE = range(KEYS)
WHOLE_CELL = 3.0  # a volume this many nuclear radii wide holds the nucleus whole


@dataclass(frozen=True, slots=True)
class Line:
    """A centre line: ``points`` is (n, 3) nm ``(z, y, x)``, ``radii`` (n,) nm.

    ``thing`` is the number, in its organelle, of what it runs through; ``ends`` are the numbers of
    the nodes it joins, for networks (-1: none).
    """

    kind: str
    thing: int
    points: Floats
    radii: Floats
    ends: tuple[int, int] = (-1, -1)


@dataclass(frozen=True, slots=True)
class Thing:
    """One placed instance: its organelle, its number there (from 1), and what is exact about it.

    ``volume_nm3`` and ``area_nm2`` are of the whole instance, also where the volume's faces cut
    it, and NaN where no formula exists.
    """

    kind: str
    number: int
    centre: tuple[float, float, float]
    volume_nm3: float = math.nan
    area_nm2: float = math.nan


@dataclass
class Scaffold:
    """A scene under construction; lengths in nm, the volume is [0, extent)."""

    extent: Floats
    seed: int
    bodies: Floats
    keys: NDArray[np.uint64]
    space: Space
    prims: list[Prim] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    cytoplasm_um3: float = 0.0

    @property
    def low(self) -> Floats:
        """First corner of the region in which organelles are placed, nm."""
        return np.full(3, -MARGIN)

    @property
    def high(self) -> Floats:
        """Last corner of the region in which organelles are placed, nm."""
        return self.extent + MARGIN

    def draw(self, *path: int) -> Draw:
        """Return the random stream with this path; each kind of organelle has its own."""
        return Draw(self.seed, *path)

    def add_thing(
        self, kind: str, centre: Floats, volume: float = math.nan, area: float = math.nan
    ) -> int:
        """Add an instance; return its index among all things."""
        number = self.counts[kind] = self.counts.get(kind, 0) + 1
        z, y, x = (float(v) for v in centre)
        self.things.append(Thing(kind, number, (z, y, x), volume, area))
        return len(self.things) - 1

    def add_primitive(self, prim: Prim, kind: Kind, thing: int, branch: int = 0) -> None:
        """Add a primitive of a thing; primitives of one tubule of a network share a ``branch``."""
        self.prims.append(prim)
        self.kinds.append(kind)
        self.owners.append(thing)
        self.branches.append(branch)

    def free_place(self, draw: Draw, radius: float, gap: float, tries: int = 60) -> Floats | None:
        """Return a random free place for a ball in the cytoplasm, nm, or None after ``tries``."""
        for _ in range(tries):
            place = draw.point(self.low, self.high)
            if self.space.free(place, radius, gap):
                return place
        return None


def walk(
    scene: Scaffold, draw: Draw, start: Floats, heading: Floats, *, steps: int, step_nm: float,
    spreads: Sequence[float], fits: Callable[[Floats, Floats], bool],
) -> Floats:  # fmt: skip
    """Return the corners ``(n, 3)`` nm of a random path that turns away from obstacles.

    Parameters
    ----------
    scene : Scaffold
        Limits the path: it ends outside of ``[scene.low, scene.high]``.
    draw : Draw
        Random stream.
    start, heading : (3,) float64
        First corner, nm, and unit direction.
    steps : int
        Largest number of steps.
    step_nm : float
        Length of a step.
    spreads : sequence of float
        How far each attempt at a step turns, as a share of the step; after the last one fails the
        path ends.
    fits : callable
        Whether the step from one place to another is free.
    """
    points = [start]
    for _ in range(steps):
        for spread in spreads:
            turned = heading + spread * draw.vector()
            turned /= np.linalg.norm(turned)
            ahead = points[-1] + step_nm * turned
            if fits(points[-1], ahead):
                heading = turned
                points.append(ahead)
                break
        else:
            break
        if ((points[-1] < scene.low) | (points[-1] > scene.high)).any():
            break
    return np.array(points)


def outward(scene: Scaffold, body: int, at: Floats) -> tuple[float, Floats]:
    """Return the distance (nm) of a place to a body, negative inside, and the unit gradient there.

    ``body`` is NUCLEUS or MEMBRANE.
    """
    row, key = scene.bodies[body], scene.keys[body]
    d = ellipsoid_distance(row, key, *at)
    steps = np.eye(3) * 2.0
    slope = np.array([ellipsoid_distance(row, key, *(at + step)) - d for step in steps])
    return d, slope / np.linalg.norm(slope)


def across(axis: Floats, draw: Draw) -> Floats:
    """Return a random unit vector at a right angle to ``axis``."""
    while True:
        side = np.cross(axis, draw.vector())
        if (length := float(np.linalg.norm(side))) > 0.1:
            return side / length


def new_scaffold(extent_nm: tuple[float, float, float], seed: int, tissue: bool) -> Scaffold:
    """Return a scaffold with nucleus and plasma membrane in a volume of ``extent_nm``, (z, y, x).

    A volume that is wide enough holds a whole cell.  A smaller one is a window: the nucleus crosses
    it on one side and the plasma membrane on the other, both with their real curvature.  In a
    tissue other cells fill almost half of a window.
    """
    extent = np.array(extent_nm)
    draw = Draw(seed, 0)
    middle = extent / 2
    if extent.min() > WHOLE_CELL * sizes.NUCLEUS:
        radii = sizes.NUCLEUS * np.array([0.85, 1.0, 1.1])
        nucleus = [*(middle + draw.vector() * 0.06 * extent.min()), *radii, 220.0, 2600.0]
        outer = np.minimum(0.45 * extent, 3.0 * sizes.NUCLEUS)
        membrane = [*middle, *outer, 250.0, 2300.0]
    else:
        nucleus, membrane = _window(extent, middle, draw, tissue)
    bodies = np.array([nucleus, membrane])
    keys = np.array([key_of(seed, 1, n) for n in range(KEYS)], np.uint64)
    scaffold = Scaffold(extent, seed, bodies, keys, Space(bodies, keys))
    probe = Draw(seed, 2)
    places = np.array([probe.point(scaffold.low, scaffold.high) for _ in range(PROBES)])
    inside = float((scaffold.space.clearance(places) > 0).mean())
    scaffold.cytoplasm_um3 = inside * float(np.prod(scaffold.high - scaffold.low)) * 1e-9
    return scaffold


def _window(
    extent: Floats, middle: Floats, draw: Draw, tissue: bool
) -> tuple[list[float], list[float]]:
    """Return nucleus and plasma membrane of a volume that shows a part of a cell."""
    turn = draw.uniform(0.0, 2.0 * math.pi)
    way = np.array([draw.uniform(-0.25, 0.25), math.sin(turn), math.cos(turn)])
    way /= np.linalg.norm(way)
    reach = float(np.abs(way) @ extent) / 2
    wave = min(1.0, reach / 2000.0)  # a small window shows a smoother part
    r, big = sizes.NUCLEUS, sizes.CELL
    nucleus = [*(middle - way * (0.42 * reach + r)), r, r, r, 120.0 * wave, 1500.0]
    membrane = [
        *(middle + way * ((0.1 if tissue else 0.66) * reach - big)),
        big,
        big,
        big,
        150.0 * wave,
        1400.0,
    ]
    return nucleus, membrane
