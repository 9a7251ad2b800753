"""The inputs of a task that are too many for an event: a blob that names them."""

from collections.abc import Sequence

import numpy as np

from fibstream.core.arrays import Corrupt, decode_arrays, encode_arrays
from fibstream.core.keys import NamedInput, digest
from fibstream.core.stage import Arrays
from fibstream.core.subject import ObjectId, Subject, text

from .shard import Stamp, decode_blob, encode_blob
from .store import Changed, Store

OBJECT = 2**64 - 1  # no cell has this index
MOST_INLINE = 256  # inputs that an event names itself, at about 150 bytes each


def path(stage: str, subject: Subject) -> str:
    """Return the path of the manifest of the newest task of an output."""
    return f"provenance/manifests/{stage}/{text(subject)}"


def encode(inputs: Sequence[NamedInput]) -> bytes:
    """Return inputs as the body of a blob; equal inputs give equal bytes."""
    sources = sorted({(i.stage, i.name) for i in inputs})
    number = {source: n for n, source in enumerate(sources)}
    names = "\n".join(f"{stage}\t{name}" for stage, name in sources).encode()
    arrays: Arrays = {
        "sources": np.frombuffer(names, np.uint8),
        "source": np.array([number[i.stage, i.name] for i in inputs], "<u2"),
        "subject": np.array([_numbers(i.subject) for i in inputs], "<u8").reshape(-1, 3),
        "hash": np.array([i.hash.encode() for i in inputs], "S32").view(np.uint8).reshape(-1, 32),
    }
    return encode_arrays(arrays)


def decode(body: bytes) -> tuple[NamedInput, ...]:
    """Return the inputs that ``encode`` made a body of; raise Corrupt for another one."""
    try:
        return _inputs(decode_arrays(body))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Corrupt(f"no manifest: {error}") from error


def _inputs(arrays: Arrays) -> tuple[NamedInput, ...]:
    lines = arrays["sources"].tobytes().decode().split("\n")
    sources = [(stage, name) for stage, _, name in (line.partition("\t") for line in lines)]
    hashes = [row.tobytes().rstrip(b"\0").decode() for row in arrays["hash"]]
    subjects = [_subject(*row) for row in arrays["subject"].tolist()]
    named = [sources[number] for number in arrays["source"].tolist()]
    return tuple(
        NamedInput(stage, name, subject, content)
        for (stage, name), subject, content in zip(named, subjects, hashes, strict=True)
    )


def _numbers(subject: Subject) -> tuple[int, int, int]:
    """Return a subject as three numbers: a cell, or OBJECT and the id of an object."""
    if isinstance(subject, tuple):
        return subject
    assert isinstance(subject, ObjectId), subject
    return OBJECT, OBJECT, subject.number


def _subject(z: int, y: int, x: int) -> Subject:
    return ObjectId(x) if z == OBJECT else (z, y, x)


def put(store: Store, stage: str, subject: Subject, inputs: Sequence[NamedInput]) -> str:
    """Write a manifest in place of an earlier one; return its content hash."""
    body = encode(inputs)
    stamp = Stamp(stage, subject, "", digest(body))
    store.files.put(path(stage, subject), encode_blob(body, stamp))
    return stamp.hash


def read(store: Store, stage: str, subject: Subject, expected: str) -> tuple[NamedInput, ...]:
    """Return the inputs of a task; raise Changed when the manifest is not the one it names."""
    handle = store.files.open(path(stage, subject))
    if handle is None:
        raise Changed(stage, subject)
    try:
        found = decode_blob(handle.read(0, handle.size))
    finally:
        handle.close()
    if found is None or found[1].hash != expected:
        raise Changed(stage, subject)
    try:
        return decode(found[0])
    except Corrupt as error:
        raise Changed(stage, subject) from error
