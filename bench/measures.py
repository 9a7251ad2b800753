"""Measuring objects: Mvox/s of each pass, cellmap-analyze beside it, and the error of areas.

Run: ``python bench/measures.py [--size N] [--peer PYTHON]``, PYTHON of an environment that has
cellmap-analyze. Both run as whole processes, one worker, on the same Zarr array of ellipsoids in
chunks of 128; seconds are those of the CPU, of the second run, when all code is compiled.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.kernels.runs import rank
from fibstream.services.analysis import measure as chunk
from fibstream.services.analysis.cubes import DIRECTIONS
from fibstream.services.analysis.measures.area import _crossing_areas
from fibstream.services.analysis.passes import grey_levels

PROGRAM = str(Path(sys.executable).with_name("fibstream"))
PEER = """
import sys
from cellmap_analyze.analyze.measure import Measure
labels, raw, out = sys.argv[1:]
Measure(labels, out, num_workers=1, raw_path=raw).get_measurements()
"""
TURNS = 5


def ellipsoids(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return a cube of objects, four and a half in each 64 x 64 x 64 voxels, and grey values."""
    chance = np.random.default_rng(1)
    labels = np.zeros((size, size, size), np.uint64)
    for number in range(1, round(4.5 * (size / 64) ** 3) + 1):
        centre, radii = chance.uniform(0, size, 3), chance.uniform(5, 22, 3)
        low = [max(int(c - r), 0) for c, r in zip(centre, radii, strict=True)]
        high = [min(int(c + r) + 2, size) for c, r in zip(centre, radii, strict=True)]
        grids = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        terms = zip(grids, centre, radii, strict=True)
        far = np.asarray(sum(((axis - c) / r) ** 2 for axis, c, r in terms))
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][far < 1] = number
    return labels, chance.integers(90, 160, labels.shape).astype(np.uint8)


def passes(labels: NDArray[np.uint64], raw: NDArray[np.uint8]) -> None:
    """Print the speed of each pass over a chunk."""
    side = min(128, *labels.shape)
    labels, raw = (np.ascontiguousarray(a[:side, :side, :side]) for a in (labels, raw))
    box = Box((0, 0, 0), (side, side, side))
    ids, ranks = rank(labels)
    voxels = chunk._moments(ranks, box, len(ids))["voxels"]
    order = np.arange(1, len(ids))
    print(f"{(labels > 0).mean():.0%} of the voxels are in {len(order)} objects; Mvox/s, median:")
    for name, turn in {
        "ranks of ids": lambda: rank(labels),
        "moments": lambda: chunk._moments(ranks, box, len(ids)),
        "cubes": lambda: chunk._cubes(ranks, box, box, len(ids)),
        "grey values": lambda: grey_levels(ranks, raw, voxels, order),
        "all, without raw": lambda: chunk.measure(Patch(labels, box), box),
        "all": lambda: chunk.measure(Patch(labels, box), box, raw),
    }.items():
        print(f"  {name:17s} {labels.size / 1e6 / timed(turn):6.0f}")


def timed(turn: Callable[[], Any]) -> float:
    """Return the CPU seconds of a turn: the median, after one that compiles."""
    marks = []
    for _ in range(TURNS + 2):
        marks.append(time.process_time())
        turn()
    return median(b - a for a, b in list(pairwise(marks))[1:])


def cpu_of(line: list[str]) -> tuple[float, float]:
    """Run a program; return its CPU seconds and its peak memory in MiB, its children's included."""
    code = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=-3, stderr=-3)\n"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([u.ru_utime + u.ru_stime, u.ru_maxrss / 1024]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *line], check=True, capture_output=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def programs(labels: NDArray[Any], raw: NDArray[Any], peer: str | None) -> None:
    """Print the CPU seconds of whole processes, ours and the peer's."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [write(Path(folder, n), a) for n, a in (("labels", labels), ("raw", raw))]
        ours = [PROGRAM, "measure", "--labels", paths[0], "--raw", paths[1]]
        lines = {
            "measure, all columns": [*ours, "--out", f"{folder}/all.parquet"],
            "measure, cellmap": [*ours, "--out", f"{folder}/c.csv", "--profile", "cellmap"],
        }
        if peer:
            lines["cellmap-analyze"] = [peer, "-c", PEER, *paths, f"{folder}/peer"]
        found = {}
        for name, line in lines.items():
            cpu_of(line)
            found[name], peak = cpu_of(line)
            print(f"  {name:21s} {found[name]:6.1f} s of CPU, {peak:5.0f} MiB at most")
        if peer:
            for name in list(lines)[:2]:
                print(f"  cellmap-analyze / {name}: {found['cellmap-analyze'] / found[name]:.1f}")


def write(path: Path, array: NDArray[Any]) -> str:
    """Write an image of OME-NGFF 0.4 in chunks of 128; return the path of its level."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("s0", data=array, chunks=(128, 128, 128))
    axes: Any = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scale: Any = [{"type": "scale", "scale": [4, 4, 4]}]
    levels: Any = [{"path": "s0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "name": path.name, "axes": axes, "datasets": levels}
    ]
    return str(path / "s0")


def planes() -> None:
    """Print how far the area of a plane is off at most, by its orientation."""
    normals = np.random.default_rng(2).normal(size=(20_000, 3))
    normals /= np.sqrt((normals**2).sum(axis=1, keepdims=True))
    for size in ((1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (4.0, 1.0, 1.0)):
        steps = np.array(DIRECTIONS) * size
        # A line along a step crosses a plane of area 1 so often: |step . normal| / voxel volume.
        often = np.abs(normals @ steps.T) / math.prod(size)
        areas = often @ np.array(_crossing_areas(size))
        print(f"  voxels {size}: {areas.min() - 1:+.1%} to {areas.max() - 1:+.1%}, "
              f"mean {areas.mean() - 1:+.2%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--peer", help="the Python that has cellmap-analyze")
    given = parser.parse_args()
    print("area of planes by Crofton's formula:")
    planes()
    labels, raw = ellipsoids(given.size)
    passes(labels, raw)
    print(f"whole processes, {given.size} voxels an edge, {len(np.unique(labels)) - 1} objects:")
    programs(labels, raw, given.peer)


if __name__ == "__main__":
    main()
