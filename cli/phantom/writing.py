"""A synthetic cell with its truth, written chunk by chunk."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fibstream.cli.outputs import Volume, check_file, new_groups, write_file
from fibstream.cli.progress import track
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Output
from fibstream.phantom import Phantom, PhantomSpec, render_chunks
from fibstream.phantom.phantom import MEMBERS
from fibstream.phantom.predictions import Noise
from fibstream.phantom.source import FINE, SUFFIX, spec_text

from .light import check_light, light_groups, write_light
from .picture import paint
from .predicting import prediction_groups, write_predictions
from .truth import TruthTables, truth_tables

TRUTH, PICTURE = "truth.json", "picture.png"


def write_phantom(
    out: Path, spec: PhantomSpec, light: tuple[str, ...], warp: str, noise: Noise | None = None
) -> list[str]:
    """Write raw, labels, instances of each organelle, tables and light; return the groups.

    With ``noise`` also a prediction of each class.
    """
    check_light(light, spec.organelles)
    organelles = tuple(name for name in MEMBERS if name in spec.organelles)
    dataset = Dataset(
        name=out.name, shape=spec.shape, chunk=spec.chunk, dtype="uint8",
        voxel_size_nm=spec.voxel_size_nm, contrast=(0, 255),
    )  # fmt: skip
    outputs = [Output("raw", "uint8", "mean"), Output(FINE, "uint8", "mode")]
    outputs += [Output(f"labels/{name}", "uint64", "mode") for name in organelles]
    groups = [output.name for output in outputs] + light_groups(light)
    groups += prediction_groups(noise, light)
    parts = [asdict(spec), light, warp, *([asdict(noise)] if noise else [])]
    key = digest(canonical(parts))
    with new_groups(out, groups) as scratch:
        phantom = Phantom(spec)
        with truth_tables(scratch, phantom) as tables:
            _write_cell(Volume(scratch, dataset, outputs, key), phantom, organelles, tables)
        if noise is not None:
            write_predictions(scratch, dataset, noise, spec.seed, key)
        if light:
            write_light(scratch, phantom, light, warp, dataset, key)
        paint(phantom).save(scratch / PICTURE)
        (scratch / TRUTH).write_text(json.dumps(truth_of(phantom), indent=1, default=_plain))
    return groups


def write_spec(
    out: Path, spec: PhantomSpec, light: tuple[str, ...], noise: Noise | None = None
) -> Path:
    """Write a specification that is read like a volume; return its path."""
    if noise is not None:
        raise WrongUse(f"--predictions: a {SUFFIX} file holds none; expected a PATH.zarr")
    if light:
        raise WrongUse(f"--light: a {SUFFIX} file holds no light channels; expected a PATH.zarr")
    check_file(out)
    write_file(out, spec_text(spec).encode())
    return out


def _write_cell(
    volume: Volume, phantom: Phantom, organelles: tuple[str, ...], tables: TruthTables
) -> None:
    total = math.prod(volume.store.grid.count)
    for chunk in track(render_chunks(phantom, organelles), "rendered", total):
        volume.write("raw", chunk.index, chunk.raw)
        volume.write(FINE, chunk.index, chunk.labels)
        for name, voxels in chunk.instances.items():
            volume.write(f"labels/{name}", chunk.index, voxels)
        tables.add(chunk.box)


def truth_of(phantom: Phantom) -> dict[str, Any]:
    """Return the specification, all things and all centre lines, for ``truth.json``."""
    return {
        "spec": asdict(phantom.spec),
        "things": [_record(thing) for thing in phantom.things],
        "lines": [_record(line) for line in phantom.lines],
    }


def _record(item: Any) -> dict[str, Any]:
    found = asdict(item)
    # JSON has no NaN; it stands for a volume or area without a formula.
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}


def _plain(value: Any) -> Any:
    """Return a numpy array or scalar as a list or number."""
    return value.tolist()
