"""Seconds and memory of registrations by size: tubes of dyes, one process a size.

Run: ``python -m bench.registration_size [64,256,256 150,512,512]``, voxels z,y,x of 64 nm.
A phantom of these sizes takes longer to draw than to register, so here a specimen is 0.66 tubes
a cubic micrometre, turned, mirrored and bent; the search is cold, as of any other pair.  Of each:
CPU and wall seconds, most memory (images as given: 1 and 2 bytes a voxel), error at 200 places.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from fibstream.services.registration.port import Image
from fibstream.services.registration.register import register
from fibstream.services.registration.settings import MICROSCOPES

NM, LIGHT_NM = (64.0,) * 3, (125.0, 80.0, 80.0)
TUBES, STEPS, BLUR_NM = 0.66e-9, 40, 130.0  # a nm3, of each tube, of the membrane and of the light
BEND_NM, WAVE_NM = 150.0, 9000.0
MATRIX = np.diag([0.95, 1.05, 1.05]) @ np.array(
    [[-1.0, 0, 0], [0, np.cos(2.5), -np.sin(2.5)], [0, np.sin(2.5), np.cos(2.5)]]
)


def tubes(rng, low, high):
    """Return places along tubes that begin in a box, (n, 3) nm."""
    count = int(TUBES * np.prod(high - low))
    starts = rng.uniform(low, high, (count, 1, 3))
    turn = rng.normal(0, 1, (count, 1, 3)) * [12.0, 35.0, 35.0]
    steps = turn + rng.normal(0, 1, (count, STEPS, 3)) * [12.0, 25.0, 25.0]
    return (starts + np.cumsum(steps, axis=1)).reshape(-1, 3)


def counted(points, voxel_nm, shape):
    """Return a blurred histogram of places, float32 of 0 to about 1."""
    index = np.floor(points / voxel_nm).astype(int)
    index = index[((index >= 0) & (index < shape)).all(axis=1)]
    out = np.bincount(np.ravel_multi_index(index.T, shape), minlength=int(np.prod(shape)))
    out = gaussian_filter(out.reshape(shape).astype(np.float32), BLUR_NM / np.array(voxel_nm))
    return out / np.quantile(out, 0.995)


def to_light(points, extent, field):
    """Return where the light image has places of the specimen, (n, 3) nm."""
    bent = points + BEND_NM * np.sin(2 * np.pi * points[:, [1, 2, 1]] / WAVE_NM)
    return (bent - extent / 2) @ MATRIX.T + field / 2


def draw(path, shape):
    """Write a prediction, a light image and 200 places in both."""
    rng = np.random.default_rng(1)
    extent = np.array(shape) * NM
    field = extent * [1.3, 1.7, 1.7]
    rim = extent * [0.1, 0.4, 0.4]
    points = tubes(rng, -rim, extent + rim)  # neighbours lie around the specimen
    inner = points[((points >= 0) & (points < extent)).all(axis=1)]
    prediction = (60 + 80 * counted(inner, NM, shape)).clip(0, 255).astype(np.uint8)
    bright = counted(
        to_light(points, extent, field), LIGHT_NM, np.ceil(field / LIGHT_NM).astype(int)
    )
    light = (rng.poisson(40 * bright.clip(0, 5) + 5) + 100).astype(np.uint16)
    some = inner[:: len(inner) // 200]
    np.savez(path, em=prediction, light=light, points=some, truth=to_light(some, extent, field))


def measure(path):
    """Print one line on the pair that a file holds."""
    with np.load(path) as held:
        em, light = Image(held["em"], NM), Image(held["light"], LIGHT_NM)
        points, truth = held["points"], held["truth"]
    cpu, wall = time.process_time(), time.perf_counter()
    found = register(em, light, MICROSCOPES["sim"])
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    error = np.linalg.norm(found.transform.to_light(points) - truth, axis=1)
    judgement = found.judgement
    print(
        f"{em.voxels.shape} light {light.voxels.shape}: {cpu:.1f} CPU s, {wall:.0f} s, "
        f"{most:.0f} MB, {judgement.patches} patches, median error {np.median(error):.0f} nm, "
        f"said {judgement.error_nm:.0f}, {judgement.status}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", default=["64,256,256", "150,512,512"])
    parser.add_argument("--pair", type=Path, help="measure the pair of this file in this process")
    arguments = parser.parse_args()
    if arguments.pair:
        measure(arguments.pair)
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            pair = Path(folder) / "pair.npz"
            draw(pair, tuple(int(n) for n in size.split(",")))
            command = [sys.executable, "-m", "bench.registration_size", "--pair", str(pair)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
