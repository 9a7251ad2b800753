"""A little volume with bodies in it, and configurations that train on it in a moment."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.services.inference.training.config import TrainingConfig, parse_config

SHAPE = (30, 36, 40)


def bodies(seed: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return grey values and a mask, (z, y, x): dark ellipsoids on a lighter, noisy ground."""
    rng = np.random.default_rng(seed)
    at = np.indices(SHAPE)
    mask = np.zeros(SHAPE, bool)
    for centre in ((10, 12, 12), (20, 25, 28), (22, 8, 30)):
        way = (at - np.reshape(centre, (3, 1, 1, 1))) / np.reshape((6, 7, 8), (3, 1, 1, 1))
        mask |= (way**2).sum(0) < 1
    grey = np.where(mask, 70, 170) + rng.integers(-25, 26, SHAPE)
    return grey.astype(np.uint8), mask


def fine_labels(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return fine ids: 4 inside, 3 at its rim, 35 elsewhere."""
    rim = mask & ~(np.roll(mask, 1, 2) & np.roll(mask, -1, 2) & np.roll(mask, 1, 1))
    return np.where(rim, 3, np.where(mask, 4, 35)).astype(np.uint8)


def write_data(path: Path) -> Path:
    """Write raw, the mask ``mito`` and fine ids as one npz of 10 nm."""
    raw, mask = bodies()
    np.savez(path, raw=raw, mito=mask.astype(np.uint8), fine=fine_labels(mask),
             voxel_size_nm_zyx=[10.0] * 3)  # fmt: skip
    return path


def words(cell: Path, /, **changes: Any) -> dict[str, Any]:
    """Return a configuration as YAML has it, with changes; None removes one."""
    found: dict[str, Any] = {
        "name": "bodies", "classes": ["mito"], "voxel_size_nm": 10, "steps": 6, "seed": 3,
        "data": [{"raw": f"{cell}#raw", "crops": [{"masks": {"mito": f"{cell}#mito"}}]}],
        "network": {"widths": [16, 16], "factors": [2], "convolutions": 1},
        "patch": 16, "batch": 2, "threads": 1, "save_every": 3, "learning_rate": 0.003,
        "citation": "none", "licence": "CC0",
    }  # fmt: skip
    found |= changes
    return {key: value for key, value in found.items() if value is not None}


def configured(cell: Path, /, **changes: Any) -> TrainingConfig:
    return parse_config(words(cell, **changes), "test.yaml")
