"""A synthetic cell with its truth, written chunk by chunk."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fibstream.cli.flags import parse_chunk, parse_triple
from fibstream.cli.oneshot import Volume, check_file, new_groups, write_file
from fibstream.cli.progress import track
from fibstream.core.dataset import Dataset, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Output
from fibstream.phantom import Look, Phantom, PhantomSpec, pieces
from fibstream.phantom.phantom import MEMBERS
from fibstream.phantom.source import FINE, SUFFIX, written
from fibstream.phantom.spec import LOOKS, ORGANELLES

from .light import check_light, light_groups, write_light
from .picture import paint
from .truth import TruthTables, truth_tables

TRUTH, PICTURE = "truth.json", "picture.png"


def parse_organelles(text: str | None) -> tuple[str, ...]:
    """Parse ``--organelles A,B``; all of them when it is not given."""
    if text is None:
        return ORGANELLES
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in ORGANELLES]:
        raise WrongUse(f"--organelles {unknown[0]}: expected some of {', '.join(ORGANELLES)}")
    return names


def parse_missing(text: str | None) -> tuple[int, ...]:
    """Parse ``--missing Z,Z,..``; none when it is not given."""
    try:
        return tuple(sorted({int(z) for z in text.split(",")})) if text else ()
    except ValueError:
        raise WrongUse(f"--missing {text}: expected slices such as 11,40") from None


def make_look(name: str, jitter: float, missing: str | None) -> Look:
    """Return a look with the defects that are asked for."""
    if name not in LOOKS:
        raise WrongUse(f"--look {name}: expected {', '.join(LOOKS)}")
    return replace(LOOKS[name], jitter=jitter, missing=parse_missing(missing))


def make_spec(
    size: str, voxel_size_nm: str, seed: int, organelles: str | None, look: Look,
    chunk: str | None, *, tissue: bool,
) -> PhantomSpec:  # fmt: skip
    """Return what is asked for; raise WrongUse naming the flag that is wrong."""
    shape = parse_triple(size, "--size", int)
    edges = parse_chunk(chunk) or (128, 128, 128)
    return PhantomSpec(
        shape, parse_triple(voxel_size_nm, "--voxel-size-nm", float), seed,
        parse_organelles(organelles), look=look, tissue=tissue, chunk=clip_chunk(edges, shape),
    )  # fmt: skip


def write_phantom(out: Path, spec: PhantomSpec, light: tuple[str, ...], warp: str) -> list[str]:
    """Write raw, fine labels, instances of each organelle and light channels; return the groups."""
    check_light(light, spec.organelles)
    organelles = tuple(name for name in MEMBERS if name in spec.organelles)
    dataset = Dataset(
        name=out.name, shape=spec.shape, chunk=spec.chunk, dtype="uint8",
        voxel_size_nm=spec.voxel_size_nm, contrast=(0, 255),
    )  # fmt: skip
    outputs = [Output("raw", "uint8", "mean"), Output(FINE, "uint8", "mode")]
    outputs += [Output(f"labels/{name}", "uint64", "mode") for name in organelles]
    groups = [output.name for output in outputs] + light_groups(light)
    key = digest(canonical([asdict(spec), light, warp]))
    with new_groups(out, groups) as scratch:
        phantom = Phantom(spec)
        with truth_tables(scratch, phantom) as tables:
            _write_cell(Volume(scratch, dataset, outputs, key), phantom, organelles, tables)
        if light:
            write_light(scratch, phantom, light, warp, dataset, key)
        paint(phantom).save(scratch / PICTURE)
        (scratch / TRUTH).write_text(json.dumps(truth_of(phantom), indent=1, default=_plain))
    return groups


def write_spec(out: Path, spec: PhantomSpec, light: tuple[str, ...]) -> Path:
    """Write a specification that is read like a volume; return its path."""
    if light:
        raise WrongUse(f"--light: a {SUFFIX} file holds no light channels; expected a PATH.zarr")
    check_file(out)
    write_file(out, written(spec).encode())
    return out


def _write_cell(
    volume: Volume, phantom: Phantom, organelles: tuple[str, ...], tables: TruthTables
) -> None:
    total = math.prod(volume.store.grid.count)
    for piece in track(pieces(phantom, organelles), "rendered", total):
        volume.write("raw", piece.index, piece.raw)
        volume.write(FINE, piece.index, piece.labels)
        for name, voxels in piece.instances.items():
            volume.write(f"labels/{name}", piece.index, voxels)
        tables.add(piece.box)


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
