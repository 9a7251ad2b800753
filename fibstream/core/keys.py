"""Content hashes of arrays, and keys that name outputs before they exist. Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from .grid import Box
from .stage import Stage
from .subject import Subject, plain

ABSENT = "absent"  # the content hash of every array whose chunk was declared absent


class NamedInput(NamedTuple):
    """One input of a task: an array or summary of one subject, named by its content hash.

    ``name`` is the label of a blob: ``NAME@LEVEL`` for a coarser level.
    """

    stage: str
    name: str
    subject: Subject
    hash: str


def canonical(value: Any) -> bytes:
    """Encode a JSON value, equal values to equal bytes; raise ValueError for NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(*parts: bytes | memoryview) -> str:
    """Return XXH3-128 in hex over byte strings, each preceded by its length."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def content_hash(array: NDArray[Any]) -> str:
    """Return the hash of an array of any shape and dtype.

    It covers shape, dtype and the little-endian bytes in C order, so it depends neither on the
    array's memory layout nor on how it is compressed or cut into inner chunks.
    """
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    header = canonical([list(plain.shape), plain.dtype.str])
    return digest(header, plain.reshape(-1).view(np.uint8).data if plain.size else b"")


def parameters_digest(stage: Stage) -> str:
    """Return the hash of a stage's name, version and parameters."""
    return digest(canonical([stage.name, stage.version, dict(stage.parameters)]))


def wanted_key(
    rule: str, core: Box, boxes: Mapping[str, Box], inputs: Iterable[NamedInput], extra: bytes
) -> str:
    """Return the key of one chunk's output: a hash of all that determines its content.

    ``rule`` is the stage's ``parameters_digest``, ``core`` the chunk's box, ``extra`` what a fold
    adds. ``boxes`` are the boxes that the inputs are read in, cut at the volume, so that a border
    that appears when the volume is sealed changes the key.
    """
    read = [[i.stage, i.name, plain(i.subject), i.hash] for i in inputs]
    return digest(rule.encode(), canonical([core, sorted(boxes.items()), read]), extra)
