"""What the stages of a recipe make of a small volume, with what the key of each output holds."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fibstream.core.dataset import Dataset, Organelle, Prediction
from fibstream.core.fold import Fold
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import content_hash, parameters_digest
from fibstream.core.stage import Arrays, Block, Input, Patch, Stage
from fibstream.services.refine.recipe import Recipe

from .whole import VOXEL

GRID = Grid((6, 11, 12), (4, 6, 6))


class Made(NamedTuple):
    """One output of one chunk, and the parts of its key that do not name the chunk's boxes."""

    key: tuple[object, ...]
    content: str


def dataset_of(
    recipe: Recipe, settings: Mapping[str, Any], squash_nm: float = 50
) -> tuple[Dataset, Organelle]:
    """Return a dataset with one organelle ``made``, which reads an array ``in-ROLE`` a role."""
    organelle = Organelle(
        name="made", recipe=recipe.name, settings=settings,
        inputs={role.name: f"in-{role.name}" for role in recipe.inputs},
    )  # fmt: skip
    predictions = tuple(
        Prediction(name=f"in-{role.name}", squash_nm=squash_nm) for role in recipe.inputs
    )
    dataset = Dataset(
        name="law", shape=GRID.extent, chunk=GRID.chunk, dtype="uint8", voxel_size_nm=VOXEL,
        contrast=(0, 255), predictions=predictions, organelles=(organelle,),
    )  # fmt: skip
    return dataset, organelle


def inputs_of(recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    """Return arrays for every role of a recipe: noise about the surface, and numbered boxes."""
    rng, found = np.random.default_rng(seed), {}
    for role in recipe.inputs:
        if role.kind == "prediction":
            noise = rng.normal(240 if role.optional else 112, 60, GRID.extent)
            found[f"predictions/in-{role.name}"] = np.clip(noise, 0, 255).astype(np.uint8)
        else:
            # Hardly any of further masks: all together leave something.
            there = rng.random((3, 4, 4)) < (0.03 if role.optional else rng.random())
            ids = rng.integers(1, 4, (3, 4, 4)) * there
            boxes = np.kron(ids, np.ones((2, 3, 3)))
            found[f"labels/in-{role.name}"] = boxes[:6, :11, :12].astype(np.uint64)
    return found


def make(
    recipe: Recipe, dataset: Dataset, organelle: Organelle, arrays: Mapping[str, np.ndarray]
) -> Iterator[Made]:
    """Yield every output of every stage; a stage reads what those before it have made."""
    known, summaries = dict(arrays), dict[tuple[str, Index], Arrays]()
    fold = recipe.fold(dataset, organelle)
    for stage in recipe.stages(dataset, organelle):
        for index in GRID.indices():
            block = _block(stage, index, known, summaries, fold)
            read = [content_hash(known[i.name]) for i in stage.inputs if i.dtype]
            key = parameters_digest(stage), index, block.extra, *read
            for name, content in stage.compute(block).items():
                assert not isinstance(content, bytes), name
                yield Made((name, *key), _hash(content))
                if isinstance(content, dict):
                    summaries[name, index] = content
                    fold.put(Input(stage.name, name), index, "", content)
                else:
                    whole = known.setdefault(name, np.zeros(GRID.extent, content.dtype))
                    whole[GRID.box(index).slices()] = content


def _block(
    stage: Stage, index: Index, known: Mapping[str, np.ndarray],
    summaries: Mapping[tuple[str, Index], Arrays], fold: Fold,
) -> Block:  # fmt: skip
    patches = {}
    for i in stage.inputs:
        if i.dtype:
            box = GRID.block(index, i.halo)
            patches[i.name] = Patch(known[i.name][box.slices()], box)
    own = {i.name: summaries[i.name, index] for i in stage.inputs if not i.dtype}
    extra = fold.extra(stage.name, index) if stage.folded else b""
    assert extra is not None
    return Block(index, GRID.box(index), patches, own, extra)


def _hash(content: np.ndarray | Arrays) -> str:
    if isinstance(content, dict):
        return " ".join(f"{name} {content_hash(content[name])}" for name in sorted(content))
    return content_hash(content)
