"""Answers while a volume lands layer by layer: the cost of each, warm beside cold, and its error.

Run: ``python -m bench.registration_streamed [--first 411] [--worlds 1] [--edge 320] [--layers 8]``.
One thread.  Warm: the start of the first layers is remembered, or found when they have doubled.
Cold: the search in all that has landed, as `register` does it.  The errors are those of junctions
of the reticulum that registration never saw, inside of what has landed: of the warm answer all,
and those where it is said to be supported; of the cold one all.
"""

import argparse
import time

import numpy as np

from fibstream.core.grid import Grid
from fibstream.phantom.light.landmarks import landmarks
from fibstream.services.registration.coarse import coarse_of
from fibstream.services.registration.settings import MICROSCOPES, Settings
from fibstream.services.registration.starts import Starts
from fibstream.services.registration.streamed import answer_of, known_of

from .registration import Start, World, errors_nm, light_of


def middle(values):
    """Return the median, NaN of nothing."""
    return float(np.median(values)) if len(values) else float("nan")


def timed(known, light, starts):
    """Return an answer and the CPU seconds that it took."""
    begin = time.process_time()
    answer = answer_of(known, light, (MICROSCOPES["sim"], Settings()), starts)
    return answer, time.process_time() - begin


def errors(answer, points, truth):
    """Return the median error, and that where the answer is supported, nm."""
    if answer.found is None:
        return float("nan"), float("nan")
    error, valid = errors_nm(answer.found.transform, points, truth), answer.valid
    at = ((points - valid.corner_nm) / valid.voxel_nm).astype(int)
    held = valid.voxels[tuple(at.clip(0, np.array(valid.voxels.shape) - 1).T)]
    return middle(error), middle(error[held])


def main():
    """Print a row for each layer, and the ratio over all answers but the last."""
    parser = argparse.ArgumentParser()
    for flag, default in (("first", 411), ("worlds", 1), ("edge", 320), ("layers", 8)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    asked = parser.parse_args()
    ratios = []
    print("world landed  warm: CPU s  status        median supported  cold: CPU s  status  median")
    for seed in range(asked.first, asked.first + asked.worlds):
        world = World(seed, asked.edge)
        em, field = world.prediction(), Start(world, "sim", "bspline", 0)
        light, points = light_of(field), landmarks(world.cell)
        truth = field.warp.to_light(points)
        chunk = (em.voxels.shape[0] // asked.layers, 64, 64)
        grid, coarse = Grid(em.voxels.shape, chunk), coarse_of(em.voxel_nm, chunk)
        cells = {i: em.voxels[grid.box(i).slices()] for i in grid.indices()}
        starts = Starts()
        for layers in (1, *range(asked.layers // 4, asked.layers + 1)):
            landed = {i: cells[i] for i in cells if i[0] < layers}
            known = known_of(landed, grid, coarse, em.corner_nm)
            inside = points[:, 0] < layers * chunk[0] * em.voxel_nm[0]
            if layers < asked.layers // 4:  # compiles
                timed(known._replace(share=1.0, part=None), light, starts)
                continue
            warm, warm_s = timed(known, light, starts)
            cold, cold_s = timed(known._replace(part=None), light, starts)
            first, second = (errors(a, points[inside], truth[inside]) for a in (warm, cold))
            ratios += [warm_s / cold_s] if layers < asked.layers else []
            print(
                f"{seed:5d} {known.share:6.0%} {warm_s:12.1f}  {warm.judgement.status:12s} "
                f"{first[0]:7.0f} {first[1]:9.0f} {cold_s:12.1f}  {cold.judgement.status:12s} "
                f"{second[0]:6.0f}", flush=True,
            )  # fmt: skip
    print(f"warm / cold CPU seconds, median of {len(ratios)} answers: {middle(ratios):.2f}")


if __name__ == "__main__":
    main()
