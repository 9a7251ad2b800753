"""Blocked cross-validation of a training along z: what a recipe reaches on slices it never read.

``python -m bench.cross_validation CONFIG --out FOLDER [--folds N] [--slices N] [--only K]``

CONFIG is a configuration of ``fibstream train`` with one volume and one crop of masks. Each fold
keeps a block of slices out, the first and the last fold those at the ends, and trains on what lies
before and after it with a seed of its own; raw alone is seen beyond. The block is predicted within
the whole volume and scored at the fixed threshold. The same call goes on where it stopped."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fibstream.core.grid import Box
from fibstream.kernels.scores import Overlap, scores
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.training.config import read_config

from .robustness import Volume, read, scored

PROGRAM = str(Path(sys.executable).with_name("fibstream"))
LEAST = 8  # slices of a crop: fewer hold no patch worth drawing


def blocks(depth: int, slices: int, folds: int) -> list[tuple[int, int]]:
    """Return the slices that each fold keeps out, ``(first, stop)``: spread from end to end."""
    starts = np.rint(np.linspace(0, depth - slices, folds)).astype(int).tolist()
    return [(start, start + slices) for start in starts]


def fold_config(config: dict[str, Any], kept_out: tuple[int, int], depth: int, fold: int) -> Any:
    """Return the configuration of a fold: its crops, and a seed of its own."""
    (volume,) = config["data"]
    (crop,) = volume["crops"]
    parts = [part for part in ((0, kept_out[0]), (kept_out[1], depth)) if part[1] - part[0] > LEAST]
    crops = [{**crop, "z": list(part)} for part in parts]
    seed = config.get("seed", 0) + fold
    return {**config, "data": [{**volume, "crops": crops}], "seed": seed}


def trained(config: dict[str, Any], folder: Path) -> Path:
    """Train a fold to its end, or go on with it; return the exported network."""
    folder.mkdir(parents=True, exist_ok=True)
    model, begun = folder / "fold.onnx", time.monotonic()
    if not model.exists():
        (folder / "config.yaml").write_text(json.dumps(config))  # no aliases, which are refused
        for words in (
            ("--log-level", "info", "train", folder / "config.yaml", "--out", folder / "run"),
            ("export", folder / "run", "--out", model),
        ):
            subprocess.run([PROGRAM, *map(str, words)], check=True)
        print(f"{folder.name}: {(time.monotonic() - begun) / 60:.0f} minutes", flush=True)
    return model


def fold_score(model: Path, whole: Volume, kept_out: tuple[int, int], at: str) -> Overlap:
    """Score the slices that a fold never read, predicted within the whole volume."""
    engine = CpuEngine(find_model(str(model)), threads=2)
    start, stop = kept_out
    part = Box((start, 0, 0), (stop, *whole.raw.shape[1:]))
    return scored(whole, engine.spec.classes.index(at), engine, part)


def row(name: str, found: Overlap) -> str:
    """Return a line of the table."""
    values = scores(found)
    keys = ("dice", "precision", "recall")
    return f"| {name} | " + " | ".join(f"{values[key]:.3f}" for key in keys) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--only", type=int, help="one fold, from 0")
    given = parser.parse_args()
    read_config(given.config)  # refuses what is no configuration
    config = yaml.safe_load(given.config.read_text())
    (volume,) = config["data"]
    ((at, path),) = volume["crops"][0]["masks"].items()
    size = volume["voxel_size_nm"]
    raw, truth = read(volume["raw"], "raw", size), read(path, "labels", size)
    whole = Volume(raw, truth > 0, np.ones(raw.shape, np.bool_))
    print("| slices kept out | Dice | precision | recall |\n|---|---|---|---|", flush=True)
    found = []
    for fold, kept_out in enumerate(blocks(len(raw), given.slices, given.folds)):
        if given.only not in (None, fold):
            continue
        folder = given.out / f"fold-{fold}"
        model = trained(fold_config(config, kept_out, len(raw), fold), folder)
        found.append(fold_score(model, whole, kept_out, at))
        print(row(f"{kept_out[0]} to {kept_out[1]}", found[-1]), flush=True)
    together = found[0]
    for one in found[1:]:
        together += one
    print(row("together", together))
    each = [scores(one)["dice"] for one in found]
    spread = {"mean": float(np.mean(each)), "deviation": float(np.std(each, ddof=len(each) > 1))}
    print(json.dumps(spread))


if __name__ == "__main__":
    main()
