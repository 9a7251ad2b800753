"""The phantom: voxels a second of one core, and how similar its images are to real ones.

Run: ``python bench/phantom.py``.  One thread, processor time.  Prints millions of voxels a second,
best and worst of boxes of a 512-cube at 4 nm and of a whole cell, distances compared with those
between voxels, the picture in three dimensions, and how far synthetic volumes are from the real
regions that the looks were fitted to, from other regions, and these from each other.  Data outside
of the checkout are read from FIBSTREAM_SHARED.
"""

import os
import resource
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import tifffile
from scipy.ndimage import distance_transform_edt

from fibstream.core.grid import Box, Grid
from fibstream.phantom import Phantom, PhantomSpec, render_chunk
from fibstream.phantom.compare import compare
from fibstream.phantom.rendering import Part, View, outline_nm, render
from fibstream.phantom.spec import LOOKS, ORGANELLES

SAMPLE = Path(__file__).parents[1] / "samples" / "flyem_medulla.tif"
EDGE, BOX = 512, 128
GOAL = 5.0  # million voxels a second
SEEDS = (1, 2, 3)
TISSUE = tuple(name for name in ORGANELLES if name != "nucleus")  # neurites have none
HISTOGRAM, SPECTRUM, LENGTHS = 12, 0.25, (0.6, 1.6)
BOUNDS = f"histogram {HISTOGRAM} grey levels, spectrum {SPECTRUM}, lengths {LENGTHS}"
SHARED = Path(os.environ.get("FIBSTREAM_SHARED", "../shared"))


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
            ("labels, micrograph, mito", lambda: render_chunk(cell, grid, index, ("mito",))),  # noqa: B023
        ):
            begin = time.process_time()
            make()
            rates[name].append(BOX**3 / (time.process_time() - begin) / 1e6)
    for name, found in rates.items():
        print(
            f"{name:25s} {min(found):6.1f} worst {np.median(found):6.1f} median {max(found):6.1f} "
            f"best Mvoxel/s = {np.median(found) / GOAL:.1f} x the goal"
        )


def whole_cell():
    """Place a whole cell of 10,000 voxels an edge, and time boxes of it along a diagonal."""
    begin = time.process_time()
    cell = Phantom(PhantomSpec((10_000,) * 3, seed=1))
    taken = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"placing {len(cell.things)} things of a 10,000-cube: {taken:.0f} s, {memory:.2f} GiB")
    rates = []
    for at in range(2000, 8000, 500):
        box = Box((5000, at, at), (5000 + BOX, at + BOX, at + BOX))
        begin = time.process_time()
        cell.image_and_voxels(box)
        rates.append(BOX**3 / (time.process_time() - begin) / 1e6)
    print(f"boxes of it {min(rates):.1f} worst {np.median(rates):.1f} median Mvoxel/s")


def fields_and_picture():
    """Time distances beside those between voxels, and the picture in three dimensions."""
    cell = Phantom(PhantomSpec((EDGE,) * 3, (8.0,) * 3, seed=2))
    box = Box((128,) * 3, (128 + BOX,) * 3)
    for name in ("mito", "er"):
        cell.distances(name, box)
        inside = cell.instances(name, box) > 0
        ours = timed(lambda: cell.distances(name, box))  # noqa: B023
        peer = timed(lambda: distance_transform_edt(~inside))  # noqa: B023
        print(f"distances to {name:4s} {ours:.2f} s a box of {BOX}, edt {peer:.2f}: "
              f"{peer / ours:.1f} x")  # fmt: skip
    labels = cell.labels(cell.box())
    parts = [Part(ids, (200, 120, 40)) for ids in ((3, 4, 5), (16, 17), (20, 21), (6, 7))]
    view = View.turned(30.0, 40.0)
    pixel = max(outline_nm(cell.spec.extent_nm, view)) / 900
    draw = lambda: render(labels, (8.0,) * 3, parts, view, pixel)  # noqa: E731
    draw()
    print(f"picture of a {EDGE}-cube, 900 pixels: {timed(draw):.1f} s")


def timed(make):
    """Return the median processor time of three calls."""
    taken = []
    for _ in range(3):
        begin = time.process_time()
        make()
        taken.append(time.process_time() - begin)
    return float(np.median(taken))


def synthetic_as(look, shape, voxel_nm):
    """Return micrographs of tissue without nuclei in a look, one volume for each seed."""
    cells = [
        Phantom(PhantomSpec(shape, (voxel_nm,) * 3, seed, TISSUE, LOOKS[look], tissue=True))
        for seed in SEEDS
    ]
    return [cell.micrograph(cell.box()) for cell in cells]


def described(found):
    """Return the measures of a comparison as text; a star marks those beyond the bounds."""
    words = [f"histogram {found.histogram:5.1f}{'*' if found.histogram > HISTOGRAM else ' '}"]
    words.append(f"spectrum {found.spectrum:.2f}{'*' if found.spectrum > SPECTRUM else ' '}")
    low, high = LENGTHS
    lengths = (f"{v:.2f}{' ' if low <= v <= high else '*'}" for v in found.lengths)
    return "  ".join([*words, "lengths " + " ".join(lengths)])


def likeness(look, regions, synthetic):
    """Print how far synthetic images are from each region, and the real ones from each other.

    The look was fitted to the first region and to no other.
    """
    print(f"{look}: synthetic against real (a star is beyond the bounds: {BOUNDS})")
    for number, (name, real) in enumerate(regions.items()):
        role = "held out" if number else "fitted to"
        print(f"  {role:9s} {name:40s} {described(compare(real, synthetic))}")
    print(f"{look}: real against real, the peer")
    for (one, real), (other, peer) in combinations(regions.items(), 2):
        print(f"  {one + ' | ' + other:50s} {described(compare(real, [peer]))}")
    real = next(iter(regions.values()))
    bands = compare(real, synthetic).bands
    print("  log10 power, synthetic over the fitted one:", " ".join(f"{b:+.2f}" for b in bands))
    marks = (1, 5, 25, 50, 75, 95, 99)
    shades = {"synthetic": np.stack(synthetic), **regions}
    for name, grey in shades.items():
        print(f"  percentiles {marks} {name}:", np.percentile(grey, marks).astype(int))


def shared(*parts):
    """Return a volume of the shared data, or print that it is missing and return None."""
    path = SHARED.joinpath("data", *parts)
    if path.exists():
        return tifffile.imread(path)
    print(f"skipped: {path} is missing; set FIBSTREAM_SHARED")
    return None


def flyem_regions():
    """Return the sample, the rest of its volume, and another volume without its lost slices."""
    regions = {"sample": tifffile.imread(SAMPLE)}  # z 150-250, y 0-200, x 50-250 of the volume
    volume = shared("flyem_medulla", "train2_raw_250cube_10nm.tif")
    if volume is not None:
        regions["same volume, z 0-75"] = volume[:75, :200, 50:]
        regions["same volume, z 75-150"] = volume[75:150, 50:, :200]
    other = shared("flyem_defects", "gray_262cube.tif")
    if other is not None:  # z 39 to 176 lie round the missing slab
        regions["another volume, z 0-38"] = other[:38, :200, :200]
        regions["another volume, z 178-262"] = other[178:, 60:260, 60:260]
    return regions


def epfl_regions():
    """Return the region of the fit and four that share no voxel with it or each other."""
    volume = shared("epfl_ca1", "train_raw_165x768x1024_5nm.tif")
    if volume is None:
        return {}
    corners = ((0, 100, 256), (0, 0, 640), (0, 384, 640), (64, 100, 256), (64, 384, 640))
    return {
        f"z {z}, y {y}, x {x}": volume[z : z + 64, y : y + 384, x : x + 384] for z, y, x in corners
    }


def main():
    speed()
    fields_and_picture()
    whole_cell()
    likeness("flyem", flyem_regions(), synthetic_as("flyem", (100, 200, 200), 10.0))
    if regions := epfl_regions():
        likeness("epfl", regions, synthetic_as("epfl", (64, 384, 384), 5.0))


if __name__ == "__main__":
    main()
