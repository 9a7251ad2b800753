"""Registration of phantoms with light, case by case: captured or not, how far off, how honest.

Run: ``python bench/registration.py --out cases.jsonl [--worlds 10] [--first 100] [--kinds ..]
[--edge 512] [--beside elastix-bending]``.  ``--edge`` is that of a world in voxels of 32 nm;
``--beside`` fits the deformation by another method as well, from the same affine map.
One thread.  A world is a phantom of its own; each kind (microscope:warp) is another start of it:
another orientation, deformation, labelling and noise.  From the second world on the prediction is
also given the light image of the world before, ``other-cell``: no answer is right.  Cases that the
file has are not computed again.  ``--print`` only prints the tables of the file.
"""

import argparse
import json
import math
import resource
import time
from functools import cache
from pathlib import Path

import numpy as np

from fibstream.core.grid import Box
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.hashing import key_of
from fibstream.phantom.light import Errors, LightField, Network
from fibstream.phantom.light.drawing import draw_frame
from fibstream.phantom.light.dyes import dyes_on
from fibstream.phantom.light.field import Stain, rim_nm
from fibstream.phantom.light.landmarks import landmarks
from fibstream.services.registration.edges.elastix import METHODS, deformed_by_elastix
from fibstream.services.registration.port import Image
from fibstream.services.registration.register import prepare, register
from fibstream.services.registration.settings import MICROSCOPES, Settings

DEPTH, EDGE, NM, COARSER = 128, 512, 32.0, 2  # a phantom has no voxels of 64 nm: two are averaged
KINDS = "sim:bspline,sim:tps,confocal:bspline,sim:slabs,sim:cos7-palm,palm:bspline,sim:bspline"
WRONG_NM = 300.0
OTHER = 99  # the start that is none


class World:
    """A phantom, its prediction and its dyes, which all its starts share."""

    def __init__(self, seed, edge):
        self.shape = (DEPTH, edge, edge)
        self.cell = Phantom(PhantomSpec(self.shape, (NM,) * 3, seed=seed))
        self.dyes = cache(self._dyes)

    def _dyes(self, channel, number, regions):
        region = regions[number]
        return dyes_on(region.scene, channel, np.zeros(3), region.extent)

    def prediction(self, name="mito_membrane"):
        """Return a prediction at 64 nm, as the mean of a pyramid gives it."""
        box = Box((0, 0, 0), self.shape)
        fine = Network(self.cell, Errors()).predict(name, box).astype(np.float32)
        z, y, x = (n // COARSER for n in self.shape)
        mean = fine.reshape(z, COARSER, y, COARSER, x, COARSER).mean((1, 3, 5))
        return Image(np.floor(mean + 0.5).astype(np.uint8), (NM * COARSER,) * 3)


class Start(LightField):
    """Another light field of a phantom: warp, labelling and noise of a seed of its own."""

    def __init__(self, world, modality, family, start):
        super().__init__(world.cell, modality, family)
        self._world, extent = world, np.array(world.cell.spec.extent_nm)
        self._seed = key_of(world.cell.spec.seed, 46, start) >> 1
        self._frame = draw_frame(family, self._seed, extent, rim_nm(extent))

    def _stain(self, channel, number):
        dyes = self._world.dyes(channel, number, Regions(self.regions))
        bright = self._brightness(channel, number, dyes)
        lit = bright > 0
        moved = dyes.place[lit].astype(np.float64) + self.regions[number].origin
        return Stain(self.warp.to_light(moved).astype(np.float32), bright[lit], dyes.random[lit])


class Regions(tuple):
    """Regions of one world: alike for a cache."""

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return True


def errors_nm(transform, points, truth):
    """Return distances (n,) between where a transform sends points and where they are."""
    return np.linalg.norm(transform.to_light(points) - truth, axis=1)


def floor_nm(points, truth):
    """Return the median error of the affine map that fits the truth best."""
    rows = np.c_[points, np.ones(len(points))]
    fitted = rows @ np.linalg.lstsq(rows, truth, rcond=None)[0]
    return float(np.median(np.linalg.norm(fitted - truth, axis=1)))


def light_of(field):
    """Return the mitochondria of a light field."""
    stack = field.counts("mito", Box((0, 0, 0), field.shape))
    return Image(stack, tuple(float(v) for v in field.voxel_size_nm))


def other_light(seed, edge):
    """Return the light of another world, in which a specimen has no place."""
    return light_of(Start(World(seed, edge), "sim", "bspline", 0))


def measured(world, em, light, modality, warp, beside=None):
    """Return one case as a record; ``warp`` is the truth, None where nothing is right."""
    begin = time.process_time()
    found = register(em, light, MICROSCOPES[modality])
    taken = time.process_time() - begin
    points = landmarks(world.cell)
    truth = np.full(points.shape, np.inf) if warp is None else warp.to_light(points)
    error = errors_nm(found.transform, points, truth)
    patches = found.points_nm[np.isfinite(found.error_nm)]
    gaps = [np.linalg.norm(patches - p, axis=1).min(initial=np.inf) for p in points]
    near = error[np.array(gaps) < 1000.0]
    judgement = found.judgement
    other = {}
    if beside:
        pair = prepare(em, light, MICROSCOPES[modality], Settings())
        rival = deformed_by_elastix(*pair, found.affine, beside)
        other[beside] = float(np.nanmedian(errors_nm(rival, points, truth)))
    return other | {
        "floor": math.inf if warp is None else floor_nm(points, truth),
        "affine": float(np.median(errors_nm(found.affine, points, truth))),
        "median": float(np.median(error)), "p95": float(np.quantile(error, 0.95, method="higher")),
        "p95_near": float(np.quantile(near, 0.95, method="higher")) if len(near) else math.inf,
        "cv": judgement.error_nm, "status": judgement.status, "reasons": judgement.reasons,
        "ncc": judgement.ncc, "gap": judgement.gap, "kept": judgement.kept,
        "patches": judgement.patches, "folds": judgement.folds, "cpu_s": taken,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


COLUMNS = ("floor", "affine", "median", "p95", "p95_near", "cv", "ncc", "gap", "kept", "cpu_s")


def show(cases):
    """Print every case, the worst first, and a summary by kind."""
    print("world start kind             " + " ".join(f"{c:>8s}" for c in COLUMNS), "cv/true status")
    for case in sorted(cases, key=lambda c: -c["median"]):
        row = " ".join(f"{case[c]:8.2f}" if case[c] < 5 else f"{case[c]:8.0f}" for c in COLUMNS)
        why = "; ".join(case["reasons"])
        kind = f"{case['modality']}:{case['family']}"
        ratio = case["cv"] / case["median"]
        place = f"{case['world']:5d} {case['start']:5d} {kind:16s}"
        rivals = "".join(f" {name} {case[name]:.0f}" for name in METHODS if name in case)
        print(f"{place} {row} {ratio:7.2f} {case['status']} {why}{rivals}")
    print("\nkind             cases right wrong-as-registered said  median worst p95near cv/true")
    for kind in sorted({(c["modality"], c["family"]) for c in cases}):
        summarise(kind, [c for c in cases if (c["modality"], c["family"]) == kind])


def summarise(kind, cases):
    """Print one line for the cases of a microscope and a warp."""
    right = [c for c in cases if c["median"] <= WRONG_NM]
    wrong = [c for c in cases if c["median"] > WRONG_NM and c["status"] == "registered"]
    said = [c for c in right if c["status"] == "registered"]
    medians = [c["median"] for c in cases]
    near = float(np.median([c["p95_near"] for c in cases]))
    ratios = [c["cv"] / c["median"] for c in right] or [float("nan")]
    print(
        f"{':'.join(kind):17s} {len(cases):4d} {len(right):5d} {len(wrong):19d} {len(said):4d} "
        f"{np.median(medians):7.0f} {max(medians):5.0f} {near:7.0f} "
        f"{min(ratios):.2f}-{max(ratios):.2f}"
    )


def read(path):
    """Return the cases of a file; none if it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--kinds", default=KINDS)
    parser.add_argument("--edge", type=int, default=EDGE)
    parser.add_argument("--beside", choices=list(METHODS))
    parser.add_argument("--print", action="store_true", dest="only")
    arguments = parser.parse_args()
    worlds = range(arguments.first, arguments.first + (0 if arguments.only else arguments.worlds))
    kinds = list(enumerate(arguments.kinds.split(",")))
    for seed in worlds:
        done = {(c["world"], c["start"]) for c in read(arguments.out)}
        # The light of another cell is that of the world before: the first one has none.
        other = [] if seed == worlds.start else [(OTHER, "sim:other-cell")]
        left = [(start, kind) for start, kind in (*kinds, *other) if (seed, start) not in done]
        if not left:
            continue
        world = World(seed, arguments.edge)
        em = world.prediction()
        for start, (modality, family) in ((n, kind.split(":")) for n, kind in left):
            if start == OTHER:
                light, warp = other_light(seed - 1, arguments.edge), None
            else:
                field = Start(world, modality, family, start)
                light, warp = light_of(field), field.warp
            case = {"world": seed, "start": start, "modality": modality, "family": family}
            case |= measured(
                world, em, light, modality, warp, None if warp is None else arguments.beside
            )
            with arguments.out.open("a") as out:
                out.write(json.dumps(case) + "\n")
            print(json.dumps(case), flush=True)
    show(read(arguments.out))


if __name__ == "__main__":
    main()
