"""Which network to take, on runs that really happen: train, export, predict, evaluate, select.

``python bench/choosing.py OUT [--steps N] [--only train|score|select]`` trains small networks on
phantoms made on the fly: the strategies all, many and few, and many from 8 nm. Of each it keeps
``KEPT`` checkpoints, predicts held-out cells with every one and scores them; ``select`` then
chooses and draws. The same call again goes on where it stopped; training and scoring may go on at
once."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
import zarr
from PIL import Image

from fibstream.cli.evaluating import add_to_store, evaluate_volumes, facts_of, truth_text
from fibstream.cli.oneshot import predict_volume
from fibstream.cli.seeing import RawFlags
from fibstream.kernels.metrics import PUBLISHED
from fibstream.kernels.schema.strategies import STRATEGIES
from fibstream.runtime.settings import load

PROGRAM = str(Path(sys.executable).with_name("fibstream"))
KEPT = 4
SHAPE, CELLS = (
    (96, 192, 192),
    (900, 905, 908),
)  # held out: training has seeds below 900; all hold mitochondria
NETWORK = {"widths": [16, 32, 64, 128], "factors": [2, 2, 2], "convolutions": 1}
SCORED = (
    "ecs", "plasma_membrane", "mito", "mito_membrane", "er", "er_membrane", "nucleus", "vesicle",
)  # fmt: skip
COARSE = {
    "simulated_nm": 8,
    "patch": 46,
    "network": {**NETWORK, "upsample": 2, "padding": "valid"},
}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "few_mito": {"classes": "few/mito"},
    "many": {"classes": "many"},
    "many_8nm": {"classes": "many", **COARSE},
    "all": {"classes": "all"},
    "few_er": {"classes": "few/er"},
    "few_surface": {"classes": "few/surface"},
}
GROUPS = {
    "all": ["all"], "many": ["many"], "few": ["few_mito", "few_er", "few_surface"],
    "many, 8 nm": ["many_8nm"],
}  # fmt: skip


def recipe(name: str, steps: int) -> dict[str, Any]:
    """Return the configuration of a run."""
    phantom = {"phantom": [128, 192, 192], "count": 400, "every": 20, "seed": 100}
    return {
        "name": name, "voxel_size_nm": 4, "data": [phantom], "network": NETWORK, "patch": 48,
        "batch": 1, "steps": steps, "learning_rate": 3e-3, "mean": 0.95, "threads": 1,
        "save_every": steps // KEPT, "keep_every": steps // KEPT,
        "scale_nm": 20,  # a shorter reach, and less to draw, than the paper's 50
        "augment": {"elastic": 0, "contrast": [0.9, 1.1], "brightness": [-0.05, 0.05],
                    "gamma": [0.9, 1.1], "noise": 0.02, "blur": 0, "jitter": 0, "drift": 0},
        "citation": "synthetic cells of fibstream", "licence": "CC0-1.0", **RUNS[name],
    }  # fmt: skip


def call(*words: object) -> str:
    """Run one command of fibstream; its errors end this script."""
    done = subprocess.run([PROGRAM, *map(str, words)], check=True, stdout=subprocess.PIPE)
    return done.stdout.decode()


def train(name: str, out: Path, steps: int) -> None:
    """Train a run to its end, or go on with it; write down how long it took."""
    config = out / f"{name}.yaml"
    config.write_text(yaml.safe_dump(recipe(name, steps)))
    if (out / name / "curve.png").exists():
        return
    begun, cpu = time.monotonic(), os.times().children_user
    call("train", config, "--out", out / name)
    took = {
        "minutes": (time.monotonic() - begun) / 60,
        "processor_minutes": (os.times().children_user - cpu) / 60,
    }
    (out / f"{name}.json").write_text(json.dumps(took))


def checkpoints(name: str, out: Path) -> Iterator[tuple[int, Path]]:
    """Yield the kept checkpoints of a run with their steps, the last first."""
    for path in sorted((out / name).glob("step*.pt"), key=step_of, reverse=True):
        yield step_of(path), path


def step_of(path: Path) -> int:
    """Return the step of a checkpoint by its name."""
    return int("".join(c for c in path.stem if c.isdigit()))


def cell(seed: int, out: Path) -> Path:
    """Return a held-out cell, as a file of its specification."""
    path = out / f"cell{seed}.phantom"
    if not path.exists():
        size = ",".join(map(str, SHAPE))
        call("phantom", "--out", path, "--size", size, "--voxel-size-nm", 4, "--seed", seed)
    return path


def score(name: str, out: Path) -> None:
    """Predict the held-out cells with every checkpoint of a run, and add its scores."""
    store = out / "scores.parquet"
    for step, checkpoint in checkpoints(name, out):
        model = out / name / f"{step}.onnx"
        if not model.exists():
            call("export", checkpoint, "--out", model)
        for seed in CELLS:
            if not scored(store, name, step, f"cell{seed}"):
                score_cell(name, step, model, seed, out, store)


def scored(store: Path, name: str, step: int, crop: str) -> bool:
    """Whether the store has all classes of a checkpoint at a cell."""
    if not store.exists():
        return False
    found = pq.read_table(store, columns=["setup", "iteration", "crop", "label"]).to_pylist()
    row = {"setup": name, "iteration": step, "crop": crop}
    return all({**row, "label": label} in found for label in classes_of(name))


def classes_of(name: str) -> list[str]:
    """Return the scored classes of a run."""
    return [c for c in STRATEGIES[RUNS[name]["classes"]].classes if c in SCORED]


def score_cell(name: str, step: int, model: Path, seed: int, out: Path, store: Path) -> None:
    """Predict one cell, and score every class; what is predicted is removed, a look is kept."""
    raw, predicted, crop = str(cell(seed, out)), out / f"{name}.zarr", f"cell{seed}"
    shutil.rmtree(predicted, ignore_errors=True)
    predict_volume(
        RawFlags(raw, downsample="2" if name.endswith("8nm") else None), str(model), predicted,
        chunk=None, settings=load({"threads": "1"})[0],
    )  # fmt: skip
    for label in classes_of(name):
        test = f"{predicted}#predictions/{label}"
        truth = f"{raw}#labels/fine"
        compared = truth_text(truth, label, None)
        scores = evaluate_volumes(
            truth, test, threshold=127, instances=False, voxel_size_nm=None,
            fine_class=label,
        )  # fmt: skip
        facts = facts_of(
            store, truth=compared, path=test, label=label, crop=crop, threshold=127, setup=name,
            iteration=step, raw_dataset="phantoms at 4 nm",
        )  # fmt: skip
        assert facts is not None  # a store was given
        add_to_store(store, facts, scores["metrics"], PUBLISHED, 0.0, compared)
        if seed == CELLS[0]:
            look(predicted, label, out / "looks" / f"{label}-{name}-{step}.png")
    shutil.rmtree(predicted)


def look(predicted: Path, label: str, path: Path) -> None:
    """Keep the middle slice of a prediction."""
    array = zarr.open_array(predicted / "predictions" / label / "s0", mode="r")
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(array[array.shape[0] // 2])).save(path)


def select(out: Path, manual: Path | None) -> None:
    """Print what training took; choose, and draw. The stop rule counts as for so few steps."""
    done = [name for name in RUNS if (out / f"{name}.json").exists()]
    took = [json.loads((out / f"{name}.json").read_text())["processor_minutes"] for name in done]
    print(
        f"{len(done)} runs: {sum(took):.0f} processor minutes of training, at most {max(took):.0f}"
    )
    stored = set(pq.read_table(out / "scores.parquet", columns=["setup"])["setup"].to_pylist())
    there = {group: [n for n in names if n in stored] for group, names in GROUPS.items()}
    groups = [f"--group={group}={','.join(names)}" for group, names in there.items() if names]
    by_hand = ["--manual", manual] if manual else []
    rule = ["--first", 0, "--nothing", 10**6]
    files = ["--out", out / "choices.csv", "--plots", out / "choices"]
    print(call("select", "--store", out / "scores.parquet", *files, *groups, *by_hand, *rule))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--manual", type=Path, help="choices by eye, for select")
    parser.add_argument("--only", choices=("train", "score", "select"))
    parser.add_argument("--runs", nargs="*", default=list(RUNS))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.runs if given.only in (None, "train") else ():
        train(name, given.out, given.steps)
    for name in given.runs if given.only in (None, "score") else ():
        score(name, given.out)
    if given.only in (None, "select"):
        select(given.out, given.manual)


if __name__ == "__main__":
    main()
