"""Light channels: dyes and voxels a second of one core, compared with resampling.

Run: ``python bench/light.py``.  One thread, processor time.  The reference resamples the
labelled membrane through the same transform and blurs it.  It is timed for the same stack, and the
correlation compares the two images; it is below 1, since only ours has noise and brightness by
organelle.
"""

import time

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from fibstream.core.grid import Box
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.light import LightField, Network, image
from fibstream.phantom.light.dyes import dyes_on

SHAPE, NM = (128, 384, 384), 16.0
ROUNDS = 3


def timed(make):
    """Return the median processor time of a few calls, and the last result."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        made = make()
        taken.append(time.process_time() - begin)
    return float(np.median(taken)), made


def resampled(cell: Phantom, field: LightField):
    """Return the resampled image of all mitochondria, and where the specimen is."""
    labels = cell.labels(cell.box()) == 3
    voxel = np.array(field.voxel_size_nm)
    grid = np.stack(np.meshgrid(*map(np.arange, field.shape), indexing="ij"), -1).reshape(-1, 3)
    back = field.warp.to_specimen((grid + 0.5) * voxel)
    seen = map_coordinates(labels.astype(np.float32), (back / NM - 0.5).T, order=1)
    inside = ((back > 100) & (back < np.array(cell.spec.extent_nm) - 100)).all(axis=1)
    sigma = image.sigma_nm(field.modality) / voxel
    return gaussian_filter(seen.reshape(field.shape), sigma), inside.reshape(field.shape)


def main():
    cell = Phantom(PhantomSpec(SHAPE, (NM,) * 3, seed=3))
    extent = np.array(cell.spec.extent_nm)
    for channel in ("mito", "er"):
        dyes_on(cell.scene, channel, np.zeros(3), np.full(3, 200.0))
        taken, found = timed(lambda: dyes_on(cell.scene, channel, np.zeros(3), extent))  # noqa: B023
        print(f"dyes of {channel:4s} {len(found.place):8d} in {taken:5.1f} s, "
              f"{np.prod(extent) * 1e-9 / taken:6.0f} um3/s")  # fmt: skip
    field = LightField(cell, "sim", "bspline", unlabelled=0.0)
    box = Box((0, 0, 0), field.shape)
    field.counts("mito", box)
    ours, stack = timed(lambda: field.counts("mito", box))
    theirs, (other, inside) = timed(lambda: resampled(cell, field))
    alike = np.corrcoef(stack[inside], other[inside])[0, 1]
    mine, peer = (stack.size / taken / 1e6 for taken in (ours, theirs))
    print(f"SIM stack {mine:.1f} Mvoxel/s, resampling {peer:.1f}: {mine / peer:.1f} x, "
          f"correlation {alike:.2f}")  # fmt: skip
    large = LightField(Phantom(PhantomSpec((256, 1024, 1024), (NM,) * 3, seed=3)), "sim")
    print(f"with neighbours, specimen 4 x 16 x 16 um, stack of {large.shape}:")
    for channel in ("mito", "er"):
        begin = time.process_time()
        count = len(large._stained(channel).place)
        print(f"  {channel}: {count / 1e6:.2f} million dyes in {time.process_time() - begin:.0f} s")
    network, part = Network(cell), Box((0, 128, 128), (128, 256, 256))
    for name in ("mito_membrane", "er_membrane"):
        network.predict(name, part)
        taken, _ = timed(lambda: network.predict(name, part))  # noqa: B023
        print(f"{name} {np.prod(part.shape) / taken / 1e6:.1f} Mvoxel/s")


if __name__ == "__main__":
    main()
