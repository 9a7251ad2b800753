"""The phantom: voxels a second of one core, and how near its image is to real micrographs.

Run: ``python bench/phantom.py [EPFL.tif]``.  One thread, processor time.  Prints millions of
voxels a second, best and worst of boxes of a 512-cube at 4 nm, and the comparison with the FlyEM
sample (and with the EPFL volume, 5 nm, if its file is given) beside the bounds that the tests hold.
"""

import sys
import time
from pathlib import Path

import numpy as np
import tifffile
from fibstream.phantom import Phantom, PhantomSpec, piece
from fibstream.phantom.compare import compare
from fibstream.phantom.spec import LOOKS, ORGANELLES

from fibstream.grid import Box, Grid

SAMPLE = Path(__file__).parents[1] / "samples" / "flyem_medulla.tif"
EDGE, BOX = 512, 128
GOAL = 5.0  # million voxels a second
SEEDS = (1, 2, 3)
TISSUE = tuple(name for name in ORGANELLES if name != "nucleus")  # neurites have none
BOUNDS = "bounds: histogram 12 grey levels, spectrum 0.25, lengths 0.6 to 1.6"


def speed():
    """Time every box of the diagonal and of the middle, after one that compiles."""
    begin = time.process_time()
    cell = Phantom(PhantomSpec((EDGE,) * 3, seed=2))
    print(
        f"placing {len(cell.things)} things of a {EDGE}-cube: {time.process_time() - begin:.1f} s"
    )
    cell.micrograph(Box((0, 0, 0), (8, 8, 8)))
    grid = Grid((EDGE,) * 3, (BOX,) * 3)
    rates = {"labels": [], "micrograph": [], "labels, micrograph, mito": []}
    for index in [(k, k, k) for k in range(4)] + [(2, 0, 3), (1, 3, 0), (2, 2, 0)]:
        box = grid.box(index)
        for name, make in (
            ("labels", lambda: cell.labels(box)),  # noqa: B023
            ("micrograph", lambda: cell.micrograph(box)),  # noqa: B023
            ("labels, micrograph, mito", lambda: piece(cell, grid, index, ("mito",))),  # noqa: B023
        ):
            begin = time.process_time()
            make()
            rates[name].append(BOX**3 / (time.process_time() - begin) / 1e6)
    for name, found in rates.items():
        print(
            f"{name:25s} {min(found):6.1f} worst {np.median(found):6.1f} median {max(found):6.1f} "
            f"best Mvoxel/s = {np.median(found) / GOAL:.1f} x the goal"
        )


def likeness(name, real, voxel_nm):
    made = []
    for seed in SEEDS:
        spec = PhantomSpec(real.shape, (voxel_nm,) * 3, seed, TISSUE, LOOKS[name], tissue=True)
        cell = Phantom(spec)
        made.append(cell.micrograph(cell.box()))
    found = compare(real, made)
    z, y, x = found.lengths
    print(f"{name}: histogram {found.histogram:.1f}, spectrum {found.spectrum:.2f}, "
          f"lengths {z:.2f} {y:.2f} {x:.2f}   ({BOUNDS})")  # fmt: skip
    print("  log10 power, made over real:", " ".join(f"{b:+.2f}" for b in found.bands))
    marks = (1, 5, 25, 50, 75, 95, 99)
    print("  percentiles", marks, "real", np.percentile(real, marks).astype(int), "made",
          np.percentile(np.stack(made), marks).astype(int))  # fmt: skip


def main():
    speed()
    likeness("flyem", tifffile.imread(SAMPLE), 10.0)
    if len(sys.argv) > 1:
        likeness("epfl", tifffile.imread(sys.argv[1])[:64, 100:484, 256:640], 5.0)


if __name__ == "__main__":
    main()
