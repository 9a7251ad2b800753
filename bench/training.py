"""What a step of training costs: steps a second, processor seconds a step, memory.

``python bench/training.py [--steps N] [--threads N]`` trains small recipes on phantoms made before.
Each recipe runs in a process of its own, so that its memory is its own. Processor seconds hardly
change with other load on the machine; steps a second do.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from fibstream.services.inference.training.config import parse_config

BASE = {
    "name": "bench", "voxel_size_nm": 8, "classes": ["mito"], "steps": 10_000, "patch": 64,
    "data": [{"phantom": [96, 160, 160], "organelles": ["mito", "er"], "every": 10_000}],
    "citation": "none", "licence": "none",
}  # fmt: skip
THREE = {"network": {"widths": [16, 32, 64], "factors": [2, 2]}}
FOUR = {"network": {"widths": [16, 32, 64, 128], "factors": [2, 2, 2]}}
ONE = {"network": {"widths": [16, 32, 64, 128], "factors": [2, 2, 2], "convolutions": 1}}
WIDE = {"network": {"widths": [32, 64, 128], "factors": [2, 2]}}
VALID = {"network": {"widths": [16, 32, 64], "factors": [2, 2], "padding": "valid"}}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "base 16, 4 levels, 1 convolution": ONE,
    "base 16, 4 levels": {**FOUR, "precision": "bf16"},
    "base 16, 4 levels, fp32": {**FOUR, "precision": "fp32"},
    "base 16, 3 levels": THREE,
    "base 16, 3 levels, valid": VALID,
    "base 32, 3 levels": WIDE,
}


def measure(name: str, changes: Mapping[str, Any], steps: int, threads: int) -> None:
    from fibstream.services.inference.training.crops import seen
    from fibstream.services.inference.training.sampler import Sampler
    from fibstream.services.inference.training.trainer import Trainer

    config = parse_config({**BASE, **changes, "threads": threads}, "bench")
    sampler = Sampler(config, [])
    trainer = Trainer(config, seen([], config))
    walls, cpus, draws = [], [], []
    for step in range(steps + 1):
        begun = time.process_time()
        batch = sampler.batch(step)
        drawn = time.process_time()
        wall = time.monotonic()
        trainer.train(batch)
        walls.append(time.monotonic() - wall)
        cpus.append(time.process_time() - drawn)
        draws.append(drawn - begun)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:34} {1 / min(walls[1:]):5.2f} steps/s at best, {1 / median(walls[1:]):.2f} median; "
        f"{median(cpus[1:]):5.2f} CPU s a step, {median(draws[1:]):5.2f} to draw it; "
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
