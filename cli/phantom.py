"""`fibstream phantom`: a synthetic cell with its truth, written chunk by chunk."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fibstream.phantom import Phantom, PhantomSpec, pieces
from fibstream.phantom.phantom import MEMBERS
from fibstream.phantom.spec import LOOKS, ORGANELLES

from fibstream.dataset import Dataset, clip_chunk
from fibstream.errors import WrongUse
from fibstream.grid import MAX_CHUNK, Index
from fibstream.keys import canonical, digest
from fibstream.stage import Output

from .flags import parse_triple
from .oneshot import Volume, new_groups
from .progress import track

FINE = "labels/fine"
TRUTH = "truth.json"


def parse_organelles(text: str | None) -> tuple[str, ...]:
    """Parse ``--organelles A,B``; all of them when it is not given."""
    if text is None:
        return ORGANELLES
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in ORGANELLES]:
        raise WrongUse(f"--organelles {unknown[0]}: expected some of {', '.join(ORGANELLES)}")
    return names


def make_spec(
    size: str, voxel_size_nm: str, seed: int, organelles: str | None, look: str, chunk: str | None,
    *, tissue: bool,
) -> PhantomSpec:  # fmt: skip
    """Return what is asked for; raise WrongUse naming the flag that is wrong."""
    if look not in LOOKS:
        raise WrongUse(f"--look {look}: expected {', '.join(LOOKS)}")
    shape = parse_triple(size, "--size", int)
    edges: Index = (128, 128, 128)
    if chunk is not None:
        edges = parse_triple(chunk, "--chunk", int)
        if max(edges) > MAX_CHUNK:
            raise WrongUse(f"--chunk {chunk}: expected Z,Y,X with edges from 1 to {MAX_CHUNK}")
    return PhantomSpec(
        shape, parse_triple(voxel_size_nm, "--voxel-size-nm", float), seed,
        parse_organelles(organelles), look=LOOKS[look], tissue=tissue,
        chunk=clip_chunk(edges, shape),
    )  # fmt: skip


def write_phantom(out: Path, spec: PhantomSpec) -> list[str]:
    """Write raw, fine labels and instances of each organelle; return the groups."""
    organelles = tuple(name for name in MEMBERS if name in spec.organelles)
    dataset = Dataset(
        name=out.name, shape=spec.shape, chunk=spec.chunk, dtype="uint8",
        voxel_size_nm=spec.voxel_size_nm, contrast=(0, 255),
    )  # fmt: skip
    outputs = [Output("raw", "uint8", "mean"), Output(FINE, "uint8", "mode")]
    outputs += [Output(f"labels/{name}", "uint64", "mode") for name in organelles]
    groups = [output.name for output in outputs]
    with new_groups(out, groups) as scratch:
        volume = Volume(scratch, dataset, outputs, digest(canonical(asdict(spec))))
        phantom = Phantom(spec)
        total = len(list(dataset.grid.indices()))
        for piece in track(pieces(phantom, organelles), "rendered", total):
            volume.write("raw", piece.index, piece.raw)
            volume.write(FINE, piece.index, piece.labels)
            for name, voxels in piece.instances.items():
                volume.write(f"labels/{name}", piece.index, voxels)
        (scratch / TRUTH).write_text(json.dumps(truth_of(phantom), indent=1, default=_plain))
    return groups


def truth_of(phantom: Phantom) -> dict[str, Any]:
    """Return what is known without voxels: the specification, every thing, every centre line."""
    return {
        "spec": asdict(phantom.spec),
        "things": [_record(thing) for thing in phantom.things],
        "lines": [_record(line) for line in phantom.lines],
    }


def _record(item: Any) -> dict[str, Any]:
    found = asdict(item)
    # JSON has no word for a volume that no formula gives.
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}


def _plain(value: Any) -> Any:
    """Return an array or a scalar of numpy as JSON knows it."""
    return value.tolist()
