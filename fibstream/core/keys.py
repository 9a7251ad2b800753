"""Names that follow from content: hashes of arrays, and keys of outputs before they exist."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from .grid import Box, Index
from .stage import Stage

ABSENT = "absent"  # the content hash of every array whose chunk was declared absent


class Named(NamedTuple):
    """One object that a task reads, named by its content."""

    stage: str
    name: str
    chunk: Index
    hash: str


def canonical(value: Any) -> bytes:
    """Encode JSON values so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(*parts: bytes | memoryview) -> str:
    """Hash a sequence of byte strings; where one ends and the next begins counts."""
    state = xxhash.xxh3_128()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def content_hash(array: NDArray[Any]) -> str:
    """Hash decoded voxels: shape, dtype and little-endian bytes in C order."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    header = canonical([list(plain.shape), plain.dtype.str])
    return digest(header, plain.reshape(-1).view(np.uint8).data if plain.size else b"")


def parameters_digest(stage: Stage) -> str:
    """Hash what a stage is, apart from its inputs."""
    return digest(canonical([stage.name, stage.version, dict(stage.parameters)]))


def wanted_key(
    rule: str, core: Box, boxes: Mapping[str, Box], inputs: Iterable[Named], extra: bytes
) -> str:
    """Name the output of one chunk by everything that its content follows from.

    ``rule`` is the stage's ``parameters_digest``; ``boxes`` are the clipped boxes that its inputs
    are read in, so that a border that appears when the volume is sealed changes the key.
    """
    read = [[i.stage, i.name, list(i.chunk), i.hash] for i in inputs]
    return digest(rule.encode(), canonical([core, sorted(boxes.items()), read]), extra)
