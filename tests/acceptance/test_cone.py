"""A chunk of every prediction of a cell comes anew: no more is computed than what it changes.

Of the pipeline ``cell`` all organelles that mask others, are masked, or are parts.
"""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fibstream.core.grid import Box, Index
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from ..support.cone import check_cone, contents
from ..support.services import rerun

SHAPE, CHUNK, VOXEL_NM = "16,16,96", "16,16,16", 40
MADE = "er-periph,eres,np,nucleolus,endo-mem"  # and what they are made of: nine organelles
CHANGED: Index = (0, 0, 1)  # 160 nm are four voxels: three chunks on its right are out of reach


def phantom(out: Path, seed: int) -> Path:
    answer = inside("phantom", "--out", out, "--size", SHAPE, "--voxel-size-nm", VOXEL_NM,
                    "--seed", seed, "--predictions", "--noise-nm", 8, "--chunk", CHUNK)  # fmt: skip
    assert answer.code == 0, answer.err
    return out


def changed(one: Path, other: Path, out: Path) -> set[str]:
    """Write the predictions of a phantom with a chunk of another one; return which differ."""
    found = set()
    for path in sorted((one / "predictions").iterdir()):
        if not (path / "s0").is_dir():
            continue
        mine, its = (read(each, path.name) for each in (one, other))
        part = np.s_[:, :, 16 * CHANGED[2] : 16 * (CHANGED[2] + 1)]
        shutil.copytree(path, out / path.name)
        if not np.array_equal(mine[part], its[part]):
            found.add(path.name)
            zarr.open_array(out / path.name / "s0", mode="r+")[part] = its[part]
    return found


def read(out: Path, name: str) -> NDArray[Any]:
    with closing(open_volume(f"{out}#predictions/{name}", kind="prediction")) as source:
        return source.read(Box((0, 0, 0), source.shape))


def test_a_chunk_that_comes_anew_redoes_only_its_cone(tmp_path) -> None:
    first, second = (phantom(tmp_path / f"{n}.zarr", n) for n in (1, 2))
    out = tmp_path / "cell.zarr"
    given = ("--raw", first, "--pipeline", "cell", "--predictions", first, "--organelles", MADE)
    answer = inside("run", *given, "--out", out, "--chunk", CHUNK, "--bus", "memory:", "--json")
    assert answer.code == 0, answer.err
    assert inside("verify", out, "--rebuild").code == 0
    before, others = contents(out), changed(first, second, tmp_path / "anew")
    report, computed = rerun(out, first, predictions=tmp_path / "anew")
    assert report.failed == []
    after = contents(out)
    landed = {(each.stage, each.path, CHANGED) for each in read_dataset(LocalFiles(out)).predictions
              if each.name in others}  # fmt: skip
    check_cone(out, before, after, computed, landed)
    assert len(landed) > 4 and len(computed) < len(after) / 2
