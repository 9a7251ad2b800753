"""Named arrays as bytes: summaries as they are stored, and as a fold keeps them. Pure."""

import json

import numpy as np
from numcodecs.zstd import Zstd

from .keys import canonical
from .stage import Arrays

ZSTD_LEVEL = 1  # levels above cost twice the time for 2 % of noisy electron micrographs


class Corrupt(Exception):
    """Stored bytes are not what their checksums say."""


def encode_arrays(arrays: Arrays) -> bytes:
    """Encode named arrays of any shape and dtype, equal arrays to equal bytes."""
    plain = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    header = canonical([[n, a.dtype.str, list(a.shape)] for n, a in sorted(plain.items())])
    body = b"".join(a.tobytes() for _, a in sorted(plain.items()))
    return bytes(Zstd(ZSTD_LEVEL).encode(header + b"\n" + body))


# What zstd, JSON and numpy raise for what is none of theirs.
_NO_ARRAYS = (
    ValueError, TypeError, KeyError, RuntimeError, OverflowError, SyntaxError, MemoryError
)  # fmt: skip


def decode_arrays(data: bytes) -> Arrays:
    """Return the arrays that `encode_arrays` encoded, little-endian and read-only.

    Raises Corrupt for bytes that it did not make.
    """
    try:
        header, _, body = bytes(Zstd().decode(data)).partition(b"\n")
        arrays: Arrays = {}
        offset = 0
        for name, dtype, shape in json.loads(header):
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(body, np.dtype(dtype), count, offset).reshape(shape)
            offset += count * np.dtype(dtype).itemsize
    except _NO_ARRAYS as error:
        raise Corrupt(f"no arrays: {error}") from error
    return arrays
