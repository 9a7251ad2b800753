"""A phantom as a file that is read like any volume: it holds the specification alone.

A volume of 10,000 voxels an edge is a file of a few hundred bytes; boxes are computed when they
are read.  ``cell.phantom`` is the micrograph, ``cell.phantom#labels/fine`` the fine ids,
``cell.phantom#labels/mito`` the instances of an organelle.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from fibstream.core.documents import Limits, parse_json
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.formats import Voxels
from fibstream.volumes.lengths import Lengths

from .phantom import MEMBERS, Phantom
from .spec import Look, PhantomSpec

SUFFIX = ".phantom"
MAX_BYTES = 1 << 20  # a specification has hundreds
FINE = "labels/fine"


def spec_text(spec: PhantomSpec) -> str:
    """Return a specification as the text of a file."""
    return json.dumps(asdict(spec), indent=1) + "\n"


def read_spec(text: str) -> PhantomSpec:
    """Return the specification in the text of a file.

    Raises
    ------
    WrongUse
        If it is no JSON object, or an entry is unknown, of a wrong type or out of range.
    """
    document = parse_json(text, "its text", Limits(size=MAX_BYTES, nodes=20_000))
    if not isinstance(document, dict) or not isinstance(document.get("look", {}), dict):
        raise WrongUse("expected a JSON object with the entries of a phantom")
    known = {field.name for field in fields(PhantomSpec)}
    looks = {field.name for field in fields(Look)}
    unknown = sorted((set(document) - known) | (set(document.get("look", {})) - looks))
    if unknown:
        raise WrongUse(f"unknown entry {cut(unknown[0])}; expected {', '.join(sorted(known))}")
    try:
        return TypeAdapter(PhantomSpec).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WrongUse(f"entry {place}: {first['msg']}") from None


@lru_cache(1)  # placing takes seconds, and a command opens its source more than once
def _placed(spec: PhantomSpec) -> Phantom:
    return Phantom(spec)


def open_phantom(file: Path, inside: str) -> Voxels:
    """Return the volume ``inside`` of a phantom's file, by default the micrograph.

    Raises
    ------
    WrongUse
        If the file is no specification, or has no volume of that name.
    """
    with file.open("rb") as stream:
        text = stream.read(MAX_BYTES).decode(errors="replace")
    try:
        spec = read_spec(text)
    except WrongUse as error:
        raise WrongUse(f"{file}: {error}") from None
    fetch, dtype = _reader(spec, inside)
    return Voxels(spec.shape, np.dtype(dtype), Lengths(spec.voxel_size_nm), fetch)


def _reader(spec: PhantomSpec, inside: str) -> tuple[Callable[[Box], NDArray[Any]], str]:
    organelle = inside.removeprefix("labels/")
    if inside in ("", "raw"):
        return lambda box: _placed(spec).micrograph(box), "uint8"
    if inside == FINE:
        return lambda box: _placed(spec).labels(box), "uint8"
    if inside.startswith("labels/") and organelle in MEMBERS:
        return lambda box: _placed(spec).instances(organelle, box), "uint64"
    names = ", ".join(f"labels/{name}" for name in ("fine", *MEMBERS))
    raise WrongUse(f"a phantom has no {inside}; expected raw, {names}")
