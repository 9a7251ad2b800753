"""The inputs of a task in a blob: what is read is what was written, or the task ends."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.arrays import decode_arrays
from fibstream.core.keys import NamedInput, digest
from fibstream.core.subject import WHOLE, ObjectId, Subject
from fibstream.store import manifest
from fibstream.store.shard import decode_blob
from fibstream.store.store import Changed

from .blobs import bare_store

STORE = bare_store((8, 8, 8), (4, 4, 4))
NAMES = st.sampled_from(["raw", "prediction/mito", "raw@2", "summaries/fragments/er", "ä"])
HASHES = st.sampled_from(["absent", "1"]) | st.binary(max_size=9).map(digest)
CELLS = st.tuples(*[st.integers(0, 2**21 - 1)] * 3)
OBJECTS = st.integers(1, 2**63).map(ObjectId)
INPUTS = st.lists(
    st.builds(NamedInput, NAMES, NAMES, CELLS | OBJECTS, HASHES), max_size=30
).map(tuple)  # fmt: skip
SUBJECTS: st.SearchStrategy[Subject] = st.sampled_from([WHOLE, (0, 0, 0), (12, 3, 4), ObjectId(7)])
Inputs = tuple[NamedInput, ...]

STAGE, SOME = "tables/mito", (NamedInput("measures/mito", "summaries/x", (0, 1, 2), digest(b"a")),)


@given(INPUTS, SUBJECTS)
def test_inputs_are_read_as_they_were_written(inputs: Inputs, subject: Subject) -> None:
    named = manifest.put(STORE, STAGE, subject, inputs)
    found = manifest.read(STORE, STAGE, subject, named)
    assert found == inputs
    # The key is made of them.
    assert all(type(n) is int for i in found for n in numbers(i.subject))


def numbers(subject: Subject) -> Iterator[object]:
    assert subject is not WHOLE
    yield from (subject.number,) if isinstance(subject, ObjectId) else subject


@given(INPUTS, INPUTS)
def test_equal_inputs_and_no_others_have_one_hash(first: Inputs, second: Inputs) -> None:
    hashes = [manifest.put(STORE, STAGE, WHOLE, i) for i in (first, second)]
    assert (hashes[0] == hashes[1]) == (first == second)
    assert manifest.encode(first) == manifest.encode(list(first))


def test_sources_come_in_one_order_in_every_process() -> None:
    """The order of a set of texts differs from process to process; the hash must not."""
    names = [f"stage{n}" for n in range(20)]
    inputs = [NamedInput(name, "x", (0, 0, 0), "1") for name in reversed(names)]
    sources = decode_arrays(manifest.encode(inputs))["sources"].tobytes().decode()
    assert sources.split("\n") == sorted(f"{name}\tx" for name in names)


def blob(subject: Subject = WHOLE) -> bytes:
    handle = STORE.files.open(manifest.path(STAGE, subject))
    assert handle is not None
    return handle.read(0, handle.size)


def test_it_is_a_blob_that_names_stage_subject_and_content() -> None:
    named = manifest.put(STORE, STAGE, (1, 0, 2), SOME)
    assert manifest.path(STAGE, (1, 0, 2)) == "provenance/manifests/tables/mito/1.0.2"
    decoded = decode_blob(blob((1, 0, 2)))
    assert decoded is not None
    _, stamp = decoded
    assert (stamp.stage, stamp.subject, stamp.hash) == (STAGE, (1, 0, 2), named)


def test_a_manifest_that_is_missing_ends_the_task() -> None:
    with pytest.raises(Changed) as changed:
        manifest.read(bare_store((8, 8, 8), (4, 4, 4)), STAGE, (1, 0, 0), "any")
    assert (changed.value.stage, changed.value.subject) == (STAGE, (1, 0, 0))


def test_a_manifest_that_was_replaced_ends_the_task_of_the_earlier() -> None:
    first = manifest.put(STORE, STAGE, WHOLE, SOME)
    second = manifest.put(STORE, STAGE, WHOLE, SOME * 2)
    with pytest.raises(Changed) as changed:
        manifest.read(STORE, STAGE, WHOLE, first)
    assert (changed.value.stage, changed.value.subject) == (STAGE, WHOLE)
    assert manifest.read(STORE, STAGE, WHOLE, second) == SOME * 2


def test_a_manifest_with_any_byte_changed_or_cut_ends_the_task() -> None:
    named = manifest.put(STORE, STAGE, WHOLE, SOME)
    whole, path = blob(), manifest.path(STAGE, WHOLE)
    for position in range(0, len(whole), 3):
        data = bytearray(whole)
        data[position] ^= 1
        for damaged in (bytes(data), whole[:position]):
            STORE.files.put(path, damaged)
            with pytest.raises(Changed):
                manifest.read(STORE, STAGE, WHOLE, named)


def test_an_input_costs_little_more_than_its_hash() -> None:
    """A hash of 16 random bytes in hex cannot be stored in less than 16."""
    rng = np.random.default_rng(0)
    cells = [(n // 400, n // 20 % 20, n % 20) for n in range(8000)]
    inputs = [
        NamedInput("measures/mito", "summaries/measures/mito", c, digest(rng.bytes(8)))
        for c in cells
    ]
    manifest.put(STORE, STAGE, WHOLE, inputs)
    assert 16 <= len(blob()) / len(inputs) < 24
