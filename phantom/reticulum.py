"""The endoplasmic reticulum: sheets, tubules with three-way junctions, all connected.

The network is a graph.  Nodes are free places of the cytoplasm, rims of sheets and places on the
outer nuclear membrane; an edge is a bent tubule.  Short edges are taken first, as long as they
join two parts and no node has more than three (Kruskal); then more edges close loops.  What is
not connected to the nuclear envelope in the end is left out, so the reticulum is one object.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from . import sizes
from .hashing import Draw
from .materials import Kind
from .nucleus import on_shell
from .organelles import disc_points
from .scaffold import MARGIN, NUCLEUS, Line, Scaffold, across, outward
from .shapes import Floats, ball, capsule, disc
from .space import along

GAP = 5.0  # nm to other organelles: contacts at 10 nm exist
MIN_GAP = 2.0  # nm to organelles beyond the largest radius of a tubule
NODES = 22.0  # in a cubic micrometre of cytoplasm: junctions every half micrometre
ANCHORS = 0.35  # on a square micrometre of envelope (Alberts: few, but always some)
SHEETS = 7.0  # in a cubic micrometre of cytoplasm
NODE_GAP = 150.0  # between nodes
REACH = 560.0  # longest edge; tubules from junction to junction are 0.2-1 um long
DEGREE = 3  # three-way junctions
LOOPS = 0.45  # of the edges that could close a loop do
BEND = 0.16  # of its length a tubule leaves the straight line
AT_MITOCHONDRIA = 0.3  # of the nodes: 5-20 % of the surface of mitochondria meets ER (Csordas 2006)
EXIT_SITES = 0.12  # of the nodes
ER = 1_000_000  # owner of all that belongs to the network
END_LENGTH = 90.0  # nm next to a node in which a tubule may come near others


@dataclass
class _Network:
    """A graph: nodes, their component (union-find), and edges."""

    places: list[Floats] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)  # in the union-find
    free_edges: list[int] = field(default_factory=list)  # edges that each node can still take
    edges: list[tuple[int, int, Floats]] = field(default_factory=list)
    cells: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def has_node_near(self, spot: Floats) -> bool:
        """Whether a node is nearer than NODE_GAP."""
        z, y, x = (int(v) for v in np.floor(spot / NODE_GAP))
        return any(
            float(np.linalg.norm(self.places[node] - spot)) < NODE_GAP
            for c, b, a in np.ndindex(3, 3, 3)
            for node in self.cells.get((z + c - 1, y + b - 1, x + a - 1), ())
        )

    def add_node(self, place: Floats, free_edges: int = DEGREE) -> int:
        self.places.append(place)
        self.parent.append(len(self.parent))
        self.free_edges.append(free_edges)
        cell = tuple(int(v) for v in np.floor(place / NODE_GAP))
        self.cells.setdefault(cell, []).append(len(self.places) - 1)
        return len(self.places) - 1

    def find(self, node: int) -> int:
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def join(self, a: int, b: int) -> None:
        self.parent[self.find(b)] = self.find(a)


@dataclass(frozen=True, slots=True)
class _Sheet:
    centre: Floats
    axis: Floats
    curve: float
    radius: float
    node: int  # of the network; its rim places belong to the same part


def place(scene: Scaffold) -> None:
    """Place sheets, tubules and exit sites, all continuous with the envelope if there is one."""
    draw = scene.draw(16)
    net = _Network()
    envelope = net.add_node(np.zeros(3), 0)
    sheets = _sheets(scene, draw, net)
    _anchors(scene, draw, net, envelope)
    for _ in range(round(NODES * scene.cytoplasm_um3)):
        spot = _at_mitochondrion(scene, draw) if draw.uniform() < AT_MITOCHONDRIA else None
        if spot is None:
            spot = scene.free_place(draw, sizes.ER_TUBULE + 4.0, GAP, tries=3)
        if spot is not None and not net.has_node_near(spot):
            net.add_node(spot)
    _add_edges(scene, draw, net)
    _connect_envelope(scene, draw, net, envelope)
    _add_network(scene, draw, net, sheets, _largest(net))


def _at_mitochondrion(scene: Scaffold, draw: Draw) -> Floats | None:
    """Return a free place where a tubule comes within 10 nm of a mitochondrion, or None."""
    lines = [line for line in scene.lines if line.kind == "mito"]
    if not lines:
        return None
    line = lines[draw.integer(0, len(lines))]
    k = draw.integer(1, len(line.points))
    side = across(line.points[k] - line.points[k - 1], draw)
    far = float(line.radii[k]) + sizes.ER_TUBULE + draw.uniform(7.5, 12.0)
    spot = np.asarray(line.points[k] + far * side)
    if ((spot < scene.low) | (spot > scene.high)).any():
        return None
    return spot if scene.space.free(spot, sizes.ER_TUBULE, GAP) else None


def _connect_envelope(scene: Scaffold, draw: Draw, net: _Network, envelope: int) -> None:
    """Connect the largest component to the envelope if no anchor did.

    From the nodes next to the envelope, nearest first, straight down to its outer membrane.
    """
    root = _largest(net)
    if net.find(envelope) == net.find(root):
        return
    near = []
    for node in range(len(net.places)):
        if net.free_edges[node] and net.find(node) == root:
            far = outward(scene, NUCLEUS, net.places[node])[0]
            if 60.0 < far < REACH:
                near.append((far, node))
    for _, node in sorted(near):
        at, _ = on_shell(scene, net.places[node], -12.0)
        anchor = net.add_node(at, 1)
        _try_edge(scene, draw, net, anchor, node)
        if not net.free_edges[anchor]:
            net.join(envelope, anchor)
            return


def _largest(net: _Network) -> int:
    parts = [net.find(n) for n in range(len(net.places))]
    return max(sorted(set(parts)), key=parts.count)


def _sheets(scene: Scaffold, draw: Draw, net: _Network) -> list[_Sheet]:
    """Place stacks of sheets that follow the nucleus, or lie free where it is not near."""
    sheets: list[_Sheet] = []
    for _ in range(max(2, round(SHEETS * scene.cytoplasm_um3))):
        spot = draw.point(scene.low, scene.high)
        d, axis = outward(scene, NUCLEUS, spot)
        if not 60.0 < d < 1200.0:
            continue
        radius = min(draw.uniform(*sizes.ER_SHEET_RADIUS), 0.3 * float(scene.extent.max()))
        curve = float(np.linalg.norm(spot - scene.bodies[0][:3]))
        for _layer in range(draw.integer(1, 4)):
            cover = disc_points(spot, axis, curve, radius)
            if not scene.space.free(cover, sizes.ER_SHEET + 4.0, GAP):
                break
            scene.space.occupy(cover, sizes.ER_SHEET + 2.0, ER)
            hub = net.add_node(spot, 0)
            for _rim in range(5):
                side = across(axis, draw)
                pole = spot - axis * curve
                way = pole + axis * np.sqrt(curve**2 - (radius - 30.0) ** 2)
                net.join(hub, net.add_node(way + side * (radius - 30.0), 1))
            sheets.append(_Sheet(spot, axis, curve, radius, hub))
            spot, curve = spot + axis * sizes.ER_SHEET_STEP, curve + sizes.ER_SHEET_STEP
            radius *= draw.uniform(0.75, 1.1)
    return sheets


def _anchors(scene: Scaffold, draw: Draw, net: _Network, envelope: int) -> None:
    """Add nodes on the outer membrane, each for one tubule."""
    area = float(scene.extent.max() + 2 * MARGIN) ** 2 * 1e-6
    for _ in range(max(6, round(ANCHORS * area))):
        at = draw.point(scene.low, scene.high)
        if abs(outward(scene, NUCLEUS, at)[0]) > 900.0:
            continue
        at, _ = on_shell(scene, at, -12.0)
        if ((at < scene.low) | (at > scene.high)).any():
            continue
        net.join(envelope, net.add_node(at, 1))


def _add_edges(scene: Scaffold, draw: Draw, net: _Network) -> None:
    """Choose edges and find a free path for each."""
    places = np.array(net.places)
    pairs = cKDTree(places).query_pairs(REACH, output_type="ndarray")
    if not len(pairs):
        return
    length = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], length))
    redundant = []
    for a, b in pairs[order].tolist():
        if net.free_edges[a] and net.free_edges[b] and net.find(a) != net.find(b):
            _try_edge(scene, draw, net, a, b)
        elif net.free_edges[a] and net.free_edges[b]:
            redundant.append((a, b))
    for a, b in redundant:
        if net.free_edges[a] and net.free_edges[b] and draw.uniform() < LOOPS:
            _try_edge(scene, draw, net, a, b)


def _try_edge(scene: Scaffold, draw: Draw, net: _Network, a: int, b: int) -> None:
    """Add the edge if one of a few bent paths between its nodes is free."""
    start, stop = net.places[a], net.places[b]
    length = float(np.linalg.norm(stop - start))
    if length < 60.0:
        return
    for attempt in range(4):
        bend = across(stop - start, draw) * length * BEND * draw.uniform(0.2, 1.0 + 0.5 * attempt)
        t = np.linspace(0.0, 1.0, max(4, int(length / 45.0)))[:, None]
        path = start * (1 - t) ** 2 + (2 * t * (1 - t)) * ((start + stop) / 2 + bend) + stop * t**2
        if _is_free_path(scene, path):
            net.edges.append((a, b, path))
            net.join(a, b)
            net.free_edges[a] -= 1
            net.free_edges[b] -= 1
            scene.space.occupy(along(path, 28.0), sizes.ER_TUBULE + 1.0, ER)
            return


def _is_free_path(scene: Scaffold, path: Floats) -> bool:
    """Whether a tubule touches no organelle, and no tubule or sheet except at its ends."""
    fine = along(path, 28.0)
    radius = sizes.ER_TUBULE + 2.0
    from_end = np.minimum(
        np.linalg.norm(fine - path[0], axis=1), np.linalg.norm(fine - path[-1], axis=1)
    )
    core = from_end > END_LENGTH
    if not scene.space.free(fine, radius, MIN_GAP, other=ER, wall=-np.inf):
        return False
    if not core.any():
        return True
    return scene.space.free(fine[core], radius, GAP + 14.0, wall=8.0)


def _add_network(
    scene: Scaffold, draw: Draw, net: _Network, sheets: list[_Sheet], root: int
) -> None:
    """Add everything connected to ``root`` to the scene."""
    owner = scene.add_thing("er", scene.extent / 2)
    branch = 1
    for sheet in sheets:
        if net.find(sheet.node) == root:
            shape = disc(
                sheet.centre, sheet.axis, sheet.curve, sheet.radius, sizes.ER_SHEET,
                wobble=(8.0, 260.0),
            )  # fmt: skip
            scene.add_primitive(shape, Kind.ER, owner, branch)
            branch += 1
    connected = set()
    for a, b, path in net.edges:
        if net.find(a) != root:
            continue
        connected |= {a, b}
        radius = sizes.ER_TUBULE * draw.uniform(0.9, 1.1)
        for p, q in pairwise(path):
            scene.add_primitive(capsule(p, q, radius, radius), Kind.ER, owner, branch)
        scene.lines.append(Line("er", 1, path, np.full(len(path), radius), (a, b)))
        branch += 1
    for node in sorted(connected):
        if net.free_edges[node] == 0 and net.places[node].any() and draw.uniform() < EXIT_SITES:
            exit_site = scene.add_thing("ERES", net.places[node])
            scene.add_primitive(ball(net.places[node], sizes.ERES), Kind.ERES, exit_site)
