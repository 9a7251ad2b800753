"""What a network finds in synthetic cells that it never saw, class by class, in each look.

``python -m bench.held_out MODEL [--size Z,Y,X] [--seeds N ..] [--looks NAME ..] [--csv FILE]``
``python -m bench.held_out MODEL --changes [--size Z,Y,X] [--seeds N ..] [--looks NAME ..]``

Cells have the network's voxels; voxels of all cells of a look count together, at the fixed
threshold. The table has Dice; the file has all 21 metrics, by class and look. With ``--changes``
the table has Dice under each change of `bench.robustness` instead, of all looks together. Give
seeds that no training had: `bench.choosing` has those from 100 to 499."""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fibstream.app.evaluation.masks import compare
from fibstream.core.grid import Box, Index
from fibstream.kernels.metrics import METRICS, Agreement, metrics
from fibstream.kernels.schema.classes import members
from fibstream.kernels.scores import Overlap, count, scores
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.spec import LOOKS
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.polarity import LEVEL
from fibstream.services.inference.port import Engine

from .robustness import CHANGES, Change, Volume, predicted

SEEDS = (900, 905, 908)
Cell = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # grey values and fine ids, (z, y, x)
Found = Mapping[str, Agreement]  # by class


def cell(seed: int, look: str, shape: Index, voxel_nm: float) -> Cell:
    """Return a cell of a seed in a look."""
    phantom = Phantom(PhantomSpec(shape, (voxel_nm,) * 3, seed, look=LOOKS[look]))
    image, voxels = phantom.image_and_voxels(phantom.box())
    return image, phantom.labels_of(voxels)


def found_in(raw: NDArray[np.uint8], fine: NDArray[np.uint8], engine: Engine) -> Found:
    """Return how the network's classes agree with the fine ids of a cell."""
    part = Box((0, 0, 0), raw.shape)
    masks = predicted(raw, engine, part) >= LEVEL
    pairs = (
        (name, members(fine, name), mask)
        for name, mask in zip(engine.spec.classes, masks, strict=True)
    )
    return {
        name: compare(
            lambda box, of=truth: of[box.slices()], lambda box, of=test: of[box.slices()],
            raw.shape, engine.spec.voxel_size_nm,
        )
        for name, truth, test in pairs
    }  # fmt: skip


def dice(found: Agreement) -> float:
    """Return Dice; NaN where the cells have nothing of the class: it is no figure of a network."""
    return metrics(found)["dice"] if found.overlap.tp + found.overlap.fn else np.nan


def under(change: Change, cells: Sequence[Cell], engine: Engine) -> Mapping[str, float]:
    """Return Dice of each class that is there under a change of grey values, of all cells."""
    found = dict.fromkeys(engine.spec.classes, Overlap())
    for raw, fine in cells:
        volume = change(Volume(raw, fine, np.ones(raw.shape, np.bool_)), np.random.default_rng(0))
        masks = predicted(volume.raw, engine, Box((0, 0, 0), volume.raw.shape)) >= LEVEL
        for name, mask in zip(engine.spec.classes, masks, strict=True):
            truth = members(volume.truth, name)[volume.scored]
            found[name] += count(truth, mask[volume.scored])
    return {name: scores(of)["dice"] for name, of in found.items() if of.tp + of.fn}


def changed(cells: Sequence[Cell], engine: Engine) -> Iterator[str]:
    """Yield the lines of the table of changes: the mean of all classes, then each."""
    names = [n for n in engine.spec.classes if any(members(fine, n).any() for _, fine in cells)]
    yield f"| change | mean of {len(names)} | {' | '.join(names)} |"
    yield "|---" * (len(names) + 2) + "|"
    for name, change in CHANGES.items():
        values = under(change, cells, engine)
        each = [values.get(n, np.nan) for n in names]
        yield f"| {name} | {np.nanmean(each):.3f} | {' | '.join(map(text, each))} |"


def table(found: Mapping[str, Found]) -> list[str]:
    """Return the lines of the table: Dice by class and look, and means of what is there."""
    names = list(next(iter(found.values())))
    values = np.array([[dice(each[name]) for each in found.values()] for name in names])
    rows = [(name, *map(text, row), f"{inside(name, found):,}")
            for name, row in zip(names, values, strict=True)]  # fmt: skip
    there = values[~np.isnan(values).any(axis=1)]
    means = there.mean(axis=0) if len(there) else np.full(len(found), np.nan)
    rows.append((f"mean of {len(there)}", *map(text, means), ""))
    heads = ("class", *found, "voxels inside")
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def inside(name: str, found: Mapping[str, Found]) -> int:
    """Return how many voxels of all cells a class has."""
    return sum(each[name].overlap.tp + each[name].overlap.fn for each in found.values())


def write(found: Mapping[str, Found], path: Path) -> None:
    """Write all metrics."""
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("look", "class", *METRICS))
        for look, classes in found.items():
            for name, each in classes.items():
                rows.writerow((look, name, *(f"{v:.6g}" for v in metrics(each).values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--size", default="128,192,192")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--looks", nargs="+", choices=tuple(LOOKS), default=tuple(LOOKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--changes", action="store_true")
    given = parser.parse_args()
    engine = CpuEngine(find_model(given.model), threads=given.threads)
    z, y, x = map(int, given.size.split(","))
    if given.changes:
        voxel_nm = engine.spec.voxel_size_nm[0]
        cells = [cell(s, look, (z, y, x), voxel_nm) for look in given.looks for s in given.seeds]
        for line in changed(cells, engine):
            print(line, flush=True)
        return
    found: dict[str, dict[str, Agreement]] = {}
    for look in given.looks:
        found[look] = {name: Agreement() for name in engine.spec.classes}
        for seed in given.seeds:
            each = found_in(*cell(seed, look, (z, y, x), engine.spec.voxel_size_nm[0]), engine)
            found[look] = {name: found[look][name] + one for name, one in each.items()}
    sys.stdout.write("\n".join(table(found)) + "\n")
    if given.csv:
        write(found, given.csv)


if __name__ == "__main__":
    main()
