"""What a step of training costs: steps a second, processor seconds a step, memory.

``python bench/training.py [--steps N] [--threads N]`` trains small recipes on phantoms made before.
Each recipe runs in a process of its own, so that its memory is its own. Processor seconds hardly
change with other load on the machine; steps a second do. It is the loop of `fibstream train`:
batches are drawn ahead in a thread of their own.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from fibstream.services.inference.training.config import parse_config

BASE = {
    "name": "bench", "voxel_size_nm": 8, "classes": ["mito"], "patch": 64,
    "data": [{"phantom": [96, 160, 160], "organelles": ["mito", "er"], "every": 10_000}],
    "citation": "none", "licence": "none",
}  # fmt: skip
FIRST = 3  # steps that are not counted: kernels are compiled, memory grows
THREE = {"network": {"widths": [16, 32, 64], "factors": [2, 2]}}
FOUR = {"network": {"widths": [16, 32, 64, 128], "factors": [2, 2, 2]}}
ONE = {"network": {"widths": [16, 32, 64, 128], "factors": [2, 2, 2], "convolutions": 1}}
WIDE = {"network": {"widths": [32, 64, 128], "factors": [2, 2]}}
VALID = {"network": {"widths": [16, 32, 64], "factors": [2, 2], "padding": "valid"}}
# Of a batch of one torch computes small maps by its slow convolution; larger patches pass it.
ALONE = {"network": {"widths": [16, 32, 96, 192], "factors": [2, 2, 2]}, "batch": 1}
STEM = {"widths": [32, 64, 128], "factors": [2, 2], "stem": 2}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "base 16, 4 levels, 1 convolution": ONE,
    "base 16, 4 levels": {**FOUR, "precision": "bf16"},
    "base 16, 4 levels, fp32": {**FOUR, "precision": "fp32"},
    "base 16, 3 levels": THREE,
    "base 16, 3 levels, valid": VALID,
    "base 32, 3 levels": WIDE,
    "to 192, batch 1, patch 64": ALONE,
    "to 192, batch 1, patch 72": {**ALONE, "patch": 72},
    "stem, to 128, batch 1, patch 72": {"network": STEM, "batch": 1, "patch": 72},
    "the same, muon": {"network": STEM, "batch": 1, "patch": 72, "optimiser": "muon"},
}


def measure(name: str, changes: Mapping[str, Any], steps: int, threads: int) -> None:
    from fibstream.services.inference.training.crops import seen
    from fibstream.services.inference.training.sampler import Sampler
    from fibstream.services.inference.training.trainer import Trainer, run

    config = parse_config({**BASE, **changes, "threads": threads, "steps": steps + FIRST}, "bench")
    sampler = Sampler(config, [])
    drawn = time.process_time()
    for step in range(steps):
        sampler.batch(step)
    draw = (time.process_time() - drawn) / steps
    ends: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run(
            Trainer(config, seen([], config)), sampler, Path(folder),
            lambda *_: ends.append((time.monotonic(), time.process_time())),
        )  # fmt: skip
    walls, cpus = (
        [b - a for a, b in pairwise(each[FIRST - 1 :])] for each in zip(*ends, strict=True)
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:34} {1 / median(walls):5.2f} steps/s median, {1 / min(walls):5.2f} at best; "
        f"{sum(cpus) / len(cpus):5.2f} CPU s a step, of which {draw:5.2f} to draw it; "
        f"{memory:5.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(
        f"patches of 64³, batch 2, {given.threads} threads; precision auto where not said",
        flush=True,
    )
    for name, changes in RECIPES.items():
        worker = multiprocessing.get_context("spawn").Process(
            target=measure, args=(name, changes, given.steps, given.threads)
        )
        worker.start()
        worker.join()


if __name__ == "__main__":
    main()
