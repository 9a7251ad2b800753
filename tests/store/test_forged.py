"""Blobs with right checksums that nobody wrote: they are missing or damaged, and no more."""

import json
import struct
from contextlib import suppress
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numcodecs.zstd import Zstd

from fibstream.core.arrays import Corrupt, decode_arrays, encode_arrays
from fibstream.core.keys import digest
from fibstream.core.stage import Input
from fibstream.store import manifest
from fibstream.store.shard import Stamp, encode_blob, find_stamp
from fibstream.store.store import Blob, Changed

from .blobs import bare_store

STORE = bare_store((8, 8, 8), (4, 4, 4))
STAGE, FIRST = "tables/mito", (0, 0, 0)
SOURCE = Input("measures/mito", "summaries/measures/mito")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
FIELDS = ["stage", "subject", "key", "hash", "inputs", "manifest", "version", "parameters",
          "revision", "shape"]  # fmt: skip
DTYPES = st.sampled_from(["<u8", "|u1", "O", "f8,f8", "", "V", "<M8[ns]", "(2,)f4", "(", ",,"])
SHAPES = st.lists(st.integers(-3, 2**70) | st.integers(0, 3), max_size=3) | JSON
HEADERS = st.lists(st.tuples(JSON, DTYPES | JSON, SHAPES) | JSON, max_size=3) | JSON
ARRAYS = st.dictionaries(
    st.sampled_from(["sources", "source", "subject", "hash", "x"]),
    st.sampled_from([np.zeros(n, dtype) for n in (0, 1, 3) for dtype in ("u1", "<u2", "<f8")]),
)


def bodies() -> st.SearchStrategy[bytes]:
    """Return what may be the body of a summary or a manifest, and is none of ours."""
    made = HEADERS.map(
        lambda header: bytes(Zstd().encode(json.dumps(header).encode() + b"\n" + bytes(40)))
    )
    return st.binary(max_size=40) | made | ARRAYS.map(encode_arrays)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON | st.just("[" * 5000))
def test_a_stamp_with_a_right_checksum_is_a_stamp_or_none(fields: Any) -> None:
    body = fields.encode() if fields == "[" * 5000 else json.dumps(fields).encode()
    end = body + struct.pack("<II8s", len(body), google_crc32c.value(body), b"FIBSTAMP")
    found, length = find_stamp(b"before" + end)
    assert length == len(end)
    assert found is None or isinstance(found.key, str)


@example(bytes(Zstd().encode(b'[[null, "<u8", [9223372036854775808]]]\n')))
@example(bytes(Zstd().encode(b'[[null, ",,", []]]\n')))
@given(bodies())
def test_arrays_are_arrays_or_corrupt(body: bytes) -> None:
    with suppress(Corrupt):
        assert all(isinstance(a, np.ndarray) for a in decode_arrays(body).values())


@given(bodies())
def test_a_forged_manifest_ends_the_task_and_no_more(body: bytes) -> None:
    stamp = Stamp(STAGE, FIRST, "", digest(body))
    STORE.files.put(manifest.path(STAGE, FIRST), encode_blob(body, stamp))
    with suppress(Changed):
        found = manifest.read(STORE, STAGE, FIRST, stamp.hash)
        assert all(isinstance(i.hash, str) for i in found)


def test_a_forged_summary_is_removed_so_that_it_is_made_anew() -> None:
    body, path = b"no arrays", Blob(SOURCE.name, FIRST).path
    stamp = Stamp(SOURCE.stage, FIRST, "key", digest(body))
    STORE.files.put(path, encode_blob(body, stamp))
    with pytest.raises(Changed):
        STORE.read_summary(SOURCE, FIRST, stamp.hash)
    assert STORE.files.open(path) is None
