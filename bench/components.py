"""Components block by block, against cc3d on the whole volume in one piece.

Run: ``python -m bench.components [EDGE]``.  One thread.  Ratios are time over cc3d's time; a block
computes more than cc3d does: names, sizes, facts for the fold, and the labels themselves.
"""

import statistics
import sys
import time

import cc3d
import numpy as np
from scipy.ndimage import gaussian_filter

from fibstream.core.grid import Grid
from fibstream.core.stage import Patch
from fibstream.kernels import components, relabel, smooth
from fibstream.services.refine.cut import cut_fragments
from fibstream.services.refine.recipes.generic import GenericSettings, object_rule
from fibstream.services.refine.rule import object_fold

VOXEL = (4.0, 4.0, 4.0)
ROUNDS = 5
KERNELS = (
    (
        components,
        ("_count_runs", "_fill_runs", "_join", "_number", "_write_pairs", "_mark", "_paint"),
    ),
    (relabel, ("_look_up",)),
    (smooth, ("_across_rows", "_along_rows")),
)


def timed(function, *args):
    begin = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - begin, result


def prediction(edge):
    """A fifth of the volume is foreground, in lumps some 20 voxels wide."""
    noise = np.random.default_rng(1).standard_normal((edge,) * 3, np.float32)
    field = gaussian_filter(noise, 5)
    field -= np.quantile(field[::4, ::4, ::4], 0.8)
    return np.clip(127 + 60 * field / field.std(), 0, 255).astype(np.uint8)


def stream(volume, grid, rule):
    """Return the seconds of fragments, fold and relabelling, the bytes of a summary, the labels."""
    fold = object_fold(rule)
    seconds, cut, labels = [0.0, 0.0, 0.0], {}, np.zeros(volume.shape, np.uint64)
    for index in grid.indices():
        box = grid.block(index, rule.halo)
        patch = Patch(volume[box.slices()], box)
        spent, cut[index] = timed(cut_fragments, patch, grid.box(index), rule)
        seconds[0] += spent
        seconds[1] += timed(fold.put, index, cut[index][1])[0]
    for index, (pieces, summary) in cut.items():
        spent, mapping = timed(fold.mapping, index)
        seconds[1] += spent
        spent, block = timed(relabel.relabel, pieces, summary["ids"], mapping)
        seconds[2] += spent
        labels[grid.box(index).slices()] = block
    size = statistics.mean(sum(a.nbytes for a in s.values()) for _, s in cut.values())
    return seconds, size, labels


def compile_times(kernels):
    """Yield the seconds each kernel took to compile; cached code does not count."""
    for module, names in kernels:
        for name in names:
            kernel = getattr(module, name)
            for signature in list(kernel.signatures):
                kernel.recompile()
                yield name, kernel.get_metadata(signature)["timers"]["compiler_lock"]
                break


def main(edge):
    volume = prediction(edge)
    for holes in ("none", "one", "all"):
        for connectivity in (6, 26):
            for chunk in (128, 256):
                settings = GenericSettings(connectivity=connectivity, fill_holes=holes)
                rule = object_rule(settings, VOXEL)
                grid = Grid(volume.shape, (chunk,) * 3)
                stream(volume[:9, :9, :9], Grid((9, 9, 9), (5, 5, 5)), rule)
                compare(volume, grid, rule)
    volume = volume[:192, :192, :192]
    sigma = (3.0, 3.0, 3.0)
    ours, peers = [], []
    for _ in range(ROUNDS):
        ours.append(timed(smooth.smooth, volume, sigma, Grid(volume.shape, (512,) * 3).volume)[0])
        peers.append(timed(gaussian_filter, volume.astype(np.float32), sigma)[0])
    rate = volume.size / statistics.median(ours) / 1e6
    ratio = statistics.median(ours) / statistics.median(peers)
    print(f"smooth sigma 3: {rate:.0f} Mvox/s, {ratio:.2f} of scipy in float32")
    for name, seconds in compile_times(KERNELS):
        print(f"compile {name}: {seconds:.1f} s")


def compare(volume, grid, rule):
    runs, peers = [], []
    mask = volume >= 127
    for _ in range(ROUNDS):
        peers.append(
            timed(
                lambda: cc3d.connected_components(
                    mask, connectivity=rule.connectivity, binary_image=True
                )
            )[0]
        )
        runs.append(stream(volume, grid, rule))
    peer = statistics.median(peers)
    parts = [statistics.median(r[0][k] for r in runs) / peer for k in range(3)]
    print(
        f"holes {rule.fill_holes:4} conn {rule.connectivity:2} chunk {grid.chunk[0]}: "
        f"cc3d {mask.size / peer / 1e6:.0f} Mvox/s; fragments {parts[0]:.2f}, fold {parts[1]:.2f}, "
        f"relabel {parts[2]:.2f}, all {sum(parts):.2f} of its time; summary {runs[0][1]:.0f} B"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 384)
