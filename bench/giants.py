"""A component as large as the volume, split while it grows or at its end.

Run: ``python -m bench.giants [--edge N] [--chunk N]``. Lumps on a lattice that all touch, with
smooth noise, in chunks that land in raster order; of the fold of their summaries: seconds of CPU in
all and of the longest step, which objects are told before the last chunk, and basins that it keeps.
"""

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter

from fibstream.core.dataset import Dataset, Organelle, Prediction
from fibstream.core.stage import Patch
from fibstream.kernels.hosted import EPOCH
from fibstream.kernels.watershed.split import GIANT, SplitFold
from fibstream.services.refine.descent import cut_basins
from fibstream.services.refine.recipe import find_recipe
from fibstream.services.refine.recipes.agglomerated import _rule, _settings

PITCH = 16  # voxels between two lumps


def dataset(edge: int, chunk: int) -> Dataset:
    organelle = Organelle(
        name="mito", recipe="agglomerated", inputs={"prediction": "p"},
        settings={"quantile": 50, "merge_below": 0.35, "min_depth": 2.0},
    )  # fmt: skip
    return Dataset(
        name="giants", shape=(edge,) * 3, chunk=(chunk,) * 3, dtype="uint8", contrast=(0, 255),
        voxel_size_nm=(8.0,) * 3, predictions=(Prediction(name="p"),), organelles=(organelle,),
    )  # fmt: skip


def lumps(edge: int) -> np.ndarray:
    along = (np.arange(edge) % PITCH - PITCH // 2) ** 2
    squares = along[:, None, None] + along[None, :, None] + along[None, None, :]
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((edge,) * 3), 2)
    return np.clip(255 - squares / 2 + 8 * noise / noise.std(), 130, 255).astype(np.uint8)


def fold(made: SplitFold, summaries: dict) -> None:
    """Put all summaries as a planner does, and print what it took."""
    longest, begun = 0.0, time.process_time()
    early = kept = 0
    for count, (index, summary) in enumerate(summaries.items(), 1):
        before = time.process_time()
        made.put(index, summary)
        if count % EPOCH == 0:
            made.snapshot()
        longest = max(longest, time.process_time() - before)
        if count == len(summaries) - 1:
            early = sum(state == "closed" for _, state in made.objects().values())
        kept = max(kept, sum(part.graph.basin.size for _, part in made._giants._settled))
    made.seal()
    print(
        f"  {time.process_time() - begun:.1f} s of CPU, the longest step {longest:.1f} s; "
        f"{early} of {len(made.objects())} objects told before the last chunk, {kept} basins kept"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--edge", type=int, default=192)
    parser.add_argument("--chunk", type=int, default=24)
    given = parser.parse_args()
    made = dataset(given.edge, given.chunk)
    (organelle,) = made.organelles
    rule, values = _rule(made, organelle), lumps(given.edge)
    stage = find_recipe("agglomerated").stages(made, organelle)[0]
    summaries = {}
    for index in made.grid.indices():
        box = made.grid.block(index, stage.inputs[0].halo)
        patch = Patch(values[box.slices()], box, ())
        _, summaries[index] = cut_basins(patch, made.grid.box(index), rule)
    basins = sum(each["relief"].size for each in summaries.values())
    print(f"{len(summaries)} chunks of {given.chunk} voxels an edge, {basins} basins:")
    for name, giant in (("split at its end", len(summaries) + 1), ("split while it grows", GIANT)):
        print(name)
        agglomeration = _settings(organelle).agglomeration
        fold(SplitFold(agglomeration, made.grid, giant=giant), summaries)


if __name__ == "__main__":
    main()
