"""Connected components as whole processes against their peers, and a fold of many chunks.

Run: ``python -m bench.refining [--size N] [--peer PYTHON] [--fold EDGE]``, PYTHON of an environment
that has cellmap-analyze. The volume are the ellipsoids of `bench.measures` as distances; each
process runs on one worker, reads the same Zarr array and writes one; seconds are those of the CPU,
of the second run, when all code is compiled. ``--fold`` cuts EDGE**3 voxels into chunks of 8**3, so
that 400 gives 125,000 chunks, and folds their summaries: the time and the memory of a planner.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Grid
from fibstream.core.stage import Patch
from fibstream.services.refine.cut import cut_fragments
from fibstream.services.refine.recipes.generic import GenericSettings, object_rule
from fibstream.services.refine.rule import object_fold

from .components import prediction
from .measures import PROGRAM, cpu_of, ellipsoids, write

SIDE = 8  # voxels of an edge of a chunk of the fold
PEER = """
import sys
from cellmap_analyze.process.connected_components import ConnectedComponents
path, out = sys.argv[1:]
ConnectedComponents(
    input_path=path, output_path=out, intensity_threshold_minimum=127, num_workers=1,
    connectivity=1, delete_tmp=True,
).get_connected_components()
"""
BARE = """
import sys, cc3d, zarr
path, out = sys.argv[1:]
found = cc3d.connected_components(zarr.open_array(path, mode="r")[:] >= 127, connectivity=6)
zarr.create_array(out, data=found, chunks=(128, 128, 128))
"""


def programs(values: NDArray[Any], peer: str | None) -> None:
    """Print the CPU seconds of whole processes: ours, the peer's, and bare cc3d with writing."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "mito"), values)
        ours = [PROGRAM, "refine", "--prediction", f"mito={path}", "--organelle", "generic",
                "--set", "smooth_nm=0", "--set", "fill_holes=none"]  # fmt: skip
        lines = {
            "refine, chunks of 128": [*ours, "--chunk", "128", "--out"],
            "refine, one chunk": [*ours, "--chunk", str(max(values.shape)), "--out"],
            "cc3d and writing": [sys.executable, "-c", BARE, path],
        }
        if peer:
            lines["cellmap-analyze"] = [peer, "-c", PEER, path]
        found = {}
        for name, line in lines.items():
            for turn in ("first", "second"):
                found[name], peak = cpu_of([*line, f"{folder}/{name}-{turn}.zarr"])
            print(f"  {name:21s} {found[name]:6.1f} s of CPU, {peak:5.0f} MiB at most")
        first, *others = found
        for name in others:
            print(f"  {name} / {first}: {found[name] / found[first]:.2f}")


def fold(edge: int) -> None:
    """Print what a planner needs for the summaries of many small chunks."""
    volume = prediction(edge)
    rule = object_rule(GenericSettings(smooth_nm=0, fill_holes="none"), (4.0, 4.0, 4.0))
    grid = Grid(volume.shape, (SIDE,) * 3)
    summaries, empty = {}, held()
    for index in grid.indices():
        box = grid.block(index, rule.halo)
        _, summaries[index] = cut_fragments(Patch(volume[box.slices()], box), grid.box(index), rule)
    before = held()
    begin = time.process_time()
    made = object_fold(rule)
    for index, summary in summaries.items():
        made.put(index, summary)
    taken = time.process_time() - begin
    begin = time.process_time()
    made.seal()
    for index in summaries:
        made.mapping(index)
    answered = time.process_time() - begin
    size = sum(array.nbytes for each in summaries.values() for array in each.values())
    print(
        f"fold of {len(summaries)} chunks, {len(made.objects())} objects: {taken:.1f} s of CPU for "
        f"summaries of {size / 2**20:.1f} MiB ({before - empty:.0f} as arrays), "
        f"{answered:.1f} s to answer for all; "
        f"{held() - before:.0f} MiB besides them"
    )


def held() -> float:
    """Return the memory that this process has now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--peer", help="the Python that has cellmap-analyze")
    parser.add_argument("--fold", type=int, metavar="EDGE")
    given = parser.parse_args()
    if given.fold:
        fold(given.fold)
        return
    labels, _ = ellipsoids(given.size)
    print(f"whole processes, {given.size} voxels an edge, {len(np.unique(labels)) - 1} ellipsoids:")
    programs(np.where(labels > 0, np.uint8(180), np.uint8(60)), given.peer)


if __name__ == "__main__":
    main()
