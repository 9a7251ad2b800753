"""What a seed draws: a dataset, and the contents of its chunks over time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fibstream import registry
from fibstream.core.dataset import Dataset, Model, Organelle, Prediction
from fibstream.core.grid import Index
from fibstream.core.stage import Input
from fibstream.services.refine.recipe import RecipeSettings, find_recipe, resolve

from ..support.engines import TinyEngine
from ..support.geometry import triple
from ..support.light import registration_of


def draw_dataset(rng: random.Random, *, rich: bool = False) -> Dataset:
    """Draw grid, voxel size and parameters; z is open.

    ``rich``: two organelles in contact, one of them perhaps of a stored prediction, which is
    registered with a light image.
    """
    chunk = triple(rng.choice((3, 4, 5, 7, 8, 16)) for _ in range(3))
    y, x = (max(c, rng.randint(5, 16)) for c in chunk[1:])
    names = ("mito", "er") if rich else ("mito",)
    stored = names[1:] if rich and rng.random() < 0.5 else ()
    predicted = tuple(name for name in names if name not in stored)
    engine = TinyEngine(predicted, output=8)
    settings = resolve(
        "generic",
        {
            "smooth_nm": rng.choice((0, 0, 4, 6)),
            "connectivity": rng.choice((6, 18, 26)),
            "fill_holes": rng.choice(("none", "one", "all")),
            "min_volume_nm3": rng.choice((0, 2000, 10_000)),
            "max_volume_nm3": rng.choice((None, None, 400_000)),
        },
    )
    model = Model(
        name="tiny", classes=predicted, sha256=engine.spec.sha256,
        spec=engine.spec.model_dump(mode="json"), profile=dict(engine.profile),
    )  # fmt: skip
    dataset = Dataset(
        name="sim", shape=(None, y, x), chunk=chunk, dtype=rng.choice(("uint8", "uint16")),
        voxel_size_nm=(8, 8, 8), contrast=(0, 255),
        absent_value=_absent_value(chunk, y, x), absent_mask=_absent_mask(chunk, y, x),
        models=(model,),
        predictions=(
            *(Prediction(name=n, model="tiny", channel=n) for n in predicted),
            *(Prediction(name=n) for n in stored),
        ),
        organelles=tuple(_organelle(n, settings, f"{chunk} {y} {x} {n}") for n in names),
    )  # fmt: skip
    return _in_contact(rng, dataset) if rich else dataset


def _absent_value(chunk: Index, y: int, x: int) -> float | None:
    """Draw what voxels hold that were never imaged, of a source of its own: other draws stay."""
    return random.Random(f"{chunk} {y} {x}").choice((None, None, 0, 200))


def _absent_mask(chunk: Index, y: int, x: int) -> bool:
    """Draw whether a mask lands, of a source of its own: other draws stay."""
    return random.Random(f"mask {chunk} {y} {x}").random() < 0.15


def _organelle(prediction: str, settings: RecipeSettings, drawn: str) -> Organelle:
    """Return components, or in every third dataset basins, drawn from a source of its own."""
    rng, given, recipe = random.Random(f"recipe {drawn}"), settings.model_dump(), "generic"
    if rng.random() < 1 / 3:
        recipe = "agglomerated"
        common = given.keys() & type(find_recipe(recipe).settings).model_fields.keys()
        chosen = {
            "quantile": rng.choice((0, 25, 50)), "merge_below": rng.choice((0.1, 0.6, 0.9)),
            "min_depth": rng.choice((0, 10)),
        }  # fmt: skip
        given = resolve(recipe, {name: given[name] for name in common} | chosen).model_dump()
    name = "generic" if prediction == "mito" else prediction
    return Organelle(
        name=name, recipe=recipe, inputs={"prediction": prediction}, settings=given
    )  # fmt: skip


def _in_contact(rng: random.Random, dataset: Dataset) -> Dataset:
    word = registry.words()["contacts"]
    a, b = rng.choice((("generic", "er"), ("generic", "generic")))
    distance_nm = rng.choice((0, 8, 12))
    kind = "refined" if distance_nm == 8 else "naive"
    entry = word.entry.model_validate({"a": a, "b": b, "distance_nm": distance_nm, "kind": kind})
    steps = tuple(step.model_dump() for step in word.resolve(dataset, [entry]))
    found = {"contacts": steps, "registration": (registration_of(dataset.predictions[-1].name),)}
    return dataset.model_copy(update={"steps": found})


Content = tuple[int, np.ndarray | None]
Contents = dict[Index, list[Content]]  # of each chunk, revision by revision


def draw_contents(rng: random.Random, dataset: Dataset) -> Contents:
    """Draw what each chunk is acquired as, revision by revision: A, AB, ABA, or absent."""
    seed = np.random.default_rng(rng.getrandbits(32))
    extent = dataset.grid.extent
    versions = [blobs(seed, extent, dataset.dtype) for _ in range(2)]
    if dataset.absent_value is not None:
        versions = [padded(seed, version, dataset.absent_value) for version in versions]
    plan: Contents = {}
    for index in dataset.grid.indices():
        box = dataset.grid.box(index).slices()
        order = rng.choice(((0,), (0,), (0, 1), (0, 1, 0), (1, 0, 1, 0)))
        contents: list[Content] = [
            (n + 1, None if rng.random() < 0.08 else versions[v][box].copy())
            for n, v in enumerate(order)
        ]
        plan[index] = contents
    return plan


def draw_beside(
    rng: random.Random, dataset: Dataset, plan: Contents, array: Input
) -> Contents:  # fmt: skip
    """Draw a stored prediction: with each content of raw one of two contents, absent with it."""
    seed = np.random.default_rng(rng.getrandbits(32))
    versions = [blobs(seed, dataset.grid.extent, "uint8") for _ in range(2)]
    return {
        index: [
            (revision, None if raw is None else rng.choice(versions)[box.slices()].copy())
            for revision, raw in contents
        ]
        for index, contents in plan.items()
        for box in [dataset.grid.box(index)]
    }


def draw_mask(dataset: Dataset, plan: Contents) -> Contents:
    """Draw a mask of what was imaged, with each content of raw one of two; it lands everywhere."""
    rng = np.random.default_rng([*dataset.grid.extent, *dataset.chunk])
    ones = np.ones(dataset.grid.extent, np.uint8)
    versions = [padded(rng, ones, 0), (rng.random(ones.shape) < 0.9).astype(np.uint8)]
    return {
        index: [(n, versions[rng.integers(2)][box].copy()) for n, _ in contents]
        for index, contents in plan.items()
        for box in [dataset.grid.box(index).slices()]
    }


def blobs(seed: np.random.Generator, shape: Index, dtype: str) -> np.ndarray:
    """Draw a volume of blobs with holes whose mean of 3 voxels crosses the threshold 127."""
    from scipy import ndimage

    rough = ndimage.gaussian_filter(seed.normal(size=shape), seed.uniform(0.5, 1.6))
    level = (rough - np.quantile(rough, seed.uniform(0.4, 0.7))) / max(rough.std(), 1e-9)
    return np.clip(127 + 90 * level, 0, 255).astype(dtype)


def padded(seed: np.random.Generator, volume: np.ndarray, value: float) -> np.ndarray:
    """Return a volume with boxes and a slanted rim that were never imaged, cut through objects."""
    z, y, _ = np.indices(volume.shape)
    out = np.where(y + z // 2 < seed.integers(0, 6), value, volume)
    for _ in range(seed.integers(1, 4)):
        start = [seed.integers(-6, n) for n in volume.shape]
        size = seed.choice((2, 8, 9, 12), 3)
        box = [slice(max(a, 0), max(a + s, 0)) for a, s in zip(start, size, strict=True)]
        out[tuple(box)] = value
    return out.astype(volume.dtype)


def other_settings(rng: random.Random, dataset: Dataset) -> Callable[[Dataset], Dataset]:
    """Draw what gives a dataset's organelles other settings."""
    given = {"smooth_nm": rng.choice((0, 4)), "min_volume_nm3": rng.choice((0, 4000))}
    organelles = tuple(
        each.model_copy(update={"settings": resolve(each.recipe, given).model_dump()})
        for each in dataset.organelles
    )
    return lambda there: there.model_copy(update={"organelles": organelles})


class Chosen(Protocol):
    """Draws a dataset; a rich one in some seeds."""

    def __call__(self, rng: random.Random, *, rich: bool = False) -> Dataset: ...


@dataclass(frozen=True)
class Draws:
    """What a schedule is about: each is drawn from the source of its seed."""

    dataset: Chosen
    extent: Callable[[random.Random], int]
    contents: Callable[[random.Random, Dataset], Contents]
    beside: Callable[[random.Random, Dataset, Contents, Input], Contents]  # of a prediction
    other: Callable[[random.Random, Dataset], Callable[[Dataset], Dataset]]  # pipeline
    most_steps: int  # a schedule that takes more is a live-lock


SMALL = Draws(
    draw_dataset, lambda rng: rng.randint(4, 20), draw_contents, draw_beside, other_settings, 60_000
)
