"""What a task of a pipeline reads: a block that a worker cannot hold is refused at creation.

A halo follows from settings in nanometres and from the voxel size, so what a setting costs is known
only once there is a dataset. The check is of what stages declare: whoever adds one adds no check.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fibstream.bus.memory import MemoryFiles
from fibstream.core.dataset import Dataset
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.stage import Input, Stage
from fibstream.core.subject import Lattice
from fibstream.registry import services

# Voxels of one array: a chunk of 512 and 150 on each side. The widest halos, of a Gaussian and of a
# network of 256 voxels, are about 128. As bytes that is half a GB, as ids 4 GB. What cuts fragments
# holds two bytes more for each, and 19 for each voxel of the chunk (measured): 4 GB in all.
MAX_BLOCK = 2**29
MAX_REACHED = 4096  # chunks of a block: each is an input that its task names, in 150 bytes


def check_blocks(dataset: Dataset) -> None:
    """Raise WrongUse, naming the setting, where a block of some stage is more than is allowed."""
    for stage in _stages(dataset):
        for read in stage.inputs:
            if read.dtype and isinstance(stage.subjects, Lattice):
                _check_block(dataset, stage, read, stage.subjects)


def _stages(dataset: Dataset) -> Iterator[Stage]:
    files = MemoryFiles()  # stages are only declared: no file is read
    for service in services():
        yield from service.stages(dataset, files)


def _check_block(dataset: Dataset, stage: Stage, read: Input, lattice: Lattice) -> None:
    edges = lattice.grid(dataset.grid).chunk
    low, high = read.halo
    extent = dataset.grid.extent
    block = [min(c + a + b, e) for c, a, b, e in zip(edges, low, high, extent, strict=True)]
    reached = [
        min(-(-a // c) + -(-b // c) + 1, -(-e // c))
        for c, a, b, e in zip(edges, low, high, extent, strict=True)
    ]
    voxels, chunks = math.prod(block), math.prod(reached)
    if voxels <= MAX_BLOCK and chunks <= MAX_REACHED:
        return
    halo = max(*low, *high)
    raise WrongUse(
        f"{_cause(dataset, stage)}: a halo of {halo} around a chunk of"
        f" {','.join(map(str, edges))} is {voxels} voxels of {chunks} chunks; expected at most"
        f" {MAX_BLOCK} of {MAX_REACHED}"
    )


def _cause(dataset: Dataset, stage: Stage) -> str:
    """Return what of the pipeline declares a stage, with its lengths."""
    name = stage.name.partition("/")[2]
    organelles = {o.name: o.settings for o in dataset.organelles}
    if name in organelles and stage.family in ("fragments", "labels"):
        return _named(f"organelle {name}", organelles[name])
    for word, entries in dataset.steps.items():
        for entry in entries:
            if entry.get("name") == name:
                return _named(f"{word} {name}", entry)
    if name in {model.name for model in dataset.models}:
        return f"network {cut(name, 60)}"
    return stage.name


def _named(what: str, settings: Mapping[str, Any]) -> str:
    lengths = [f"{n} {v:g}" for n, v in settings.items() if n.endswith("_nm") and v]
    return f"{cut(what, 50)} ({', '.join(lengths)})" if lengths else cut(what, 50)
