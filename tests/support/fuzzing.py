"""Calls drawn from the descriptors of the protos: every field of every request, at its bounds."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf import descriptor as d
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code

from fibstream.core.errors import FibstreamError
from fibstream.runtime.grpc import status_of

F = d.FieldDescriptor
BOUNDS = {
    F.CPPTYPE_UINT32: (0, 1, 2, 7, 512, 513, 2**21, 2**21 + 1, 2**31 - 1, 2**32 - 1),
    F.CPPTYPE_UINT64: (0, 1, 8, 2**31, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1),
    F.CPPTYPE_INT32: (0, 1, -1, 2**31 - 1, -(2**31)),
    F.CPPTYPE_INT64: (0, 1, -1, 2**63 - 1, -(2**63)),
    F.CPPTYPE_DOUBLE: (
        0.0, -0.0, 8.0, -1.0, 1e-300, 5e-324, 1e308, float("inf"), float("-inf"), float("nan"),
    ),
    F.CPPTYPE_BOOL: (False, True),
}  # fmt: skip
TEXTS = (
    "", " ", ".", "..", "../x", "/", "x" * 129, "y" * 5000, "\0", "a\nb", "\x1b[31m", "\u202e",
    "\ud7ff\U0010ffff", "cell.zarr", "CELL", "%s{}", "'; --", "file:///x", "s3://b/x", "NaN",
    "=" * 8, "1e309", "WzEsIiIsIiJd", "id DESC", "id > 0", "SELECT 1",
)  # fmt: skip
Values = Callable[[str], tuple[Any, ...]]  # likely values of a field by its name


def drawn(rng: Random, descriptor: Any, likely: Values, depth: int = 0) -> Message:
    """Return a message whose fields are likely, at a bound, missing, or of another meaning."""
    message: Any = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if rng.random() < 0.15:
            continue
        target = getattr(message, field.name)
        if field.is_repeated:  # of messages; an assertion of the tests says so
            count = rng.randint(0, 3)
            target.extend(drawn(rng, field.message_type, likely, depth + 1) for _ in range(count))
            continue
        if field.cpp_type == F.CPPTYPE_MESSAGE:
            if depth < 5 and (field.containing_oneof is None or rng.random() < 0.5):
                target.CopyFrom(drawn(rng, field.message_type, likely, depth + 1))
            continue
        if field.containing_oneof is not None and rng.random() < 0.5:
            continue
        setattr(message, field.name, value(rng, field, likely))
    return message


def value(rng: Random, field: Any, likely: Values) -> Any:
    known = likely(field.name)
    if known and rng.random() < 0.7:
        return rng.choice(known)
    if field.cpp_type == F.CPPTYPE_STRING:
        if field.type == F.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 8, 512, 4000)))
        return rng.choice(TEXTS)
    if field.cpp_type == F.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    bounds = BOUNDS[field.cpp_type]
    return rng.choice(bounds)


def methods(*names: str) -> list[Any]:
    """Return every method of these services, whose names are full ones."""
    return [m for name in names for m in Default().FindServiceByName(name).methods]


def fields(descriptor: Any, seen: frozenset[str] = frozenset()) -> Iterator[Any]:
    """Yield every field of a message, of those inside too."""
    for field in descriptor.fields:
        yield field
        if field.message_type is not None and field.message_type.full_name not in seen:
            yield from fields(field.message_type, seen | {field.message_type.full_name})


# -- calling ---------------------------------------------------------------------------------------


class Context:
    """The context of a call whose client goes soon."""

    def __init__(self, looks: int = 2) -> None:
        self._looks = looks

    def is_active(self) -> bool:
        self._looks -= 1
        return self._looks >= 0

    def add_callback(self, call: Callable[[], None]) -> bool:
        call()
        return True

    def time_remaining(self) -> float:
        return 5.0

    def peer(self) -> str:
        return "ipv4:127.0.0.1:9"


def likely_values(name: str) -> tuple[Any, ...]:
    """Return likely values of a field: names, sizes and tokens that are there."""
    return {
        "name": ("cell", "new", "new", "other-1", "sim"),
        "dataset": ("cell", "cell", "cell", "new"),
        "pipeline": ("predictions: [{name: er, squash_nm: 30}]", "models: []"),
        "dtype": ("uint8", "uint16"),
        "prediction": ("", "er"),
        "stage": ("", "raw", "stored/er"),
        "organelle": ("mito", "er"), "table": ("mito", "er", "contacts/er--mito"),
        "contacts": ("", "er--mito"), "columns": ("", "id", "id, voxels", "nope"),
        "z": (0, 0, 1, 8), "y": (0, 8), "x": (0, 8),
        "page_size": (0, 5),
        "size": (512,),
        "revision": (0, 1, 2),
        "extent_z": (0, 8, 16),
        "once": (True,),
    }.get(name, ())  # fmt: skip


def answered(servicer: Any, method: Any, rng: Random) -> tuple[str, str]:
    """Call a method once; return the code that a client would get, and the details."""
    requests = [drawn(rng, method.input_type, likely_values)]
    if method.client_streaming:
        requests += [drawn(rng, method.input_type, likely_values) for _ in range(rng.randint(0, 2))]
    given = iter(requests) if method.client_streaming else requests[0]
    try:
        found = getattr(servicer, method.name)(given, Context())
        for answer, _ in zip(found if method.server_streaming else [found], range(5), strict=False):
            answer.SerializeToString()
    except FibstreamError as error:
        status = status_of(error)
        return Code.Name(status.code), status.message
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(line.filename).name}:{line.lineno}"
        return "INTERNAL", f"{method.name} {where} {error!r:.200} {requests!r:.400}"
    return "OK", ""


def faults(servicer: Any, calls: list[Any], seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Call methods at random ``count`` times; yield code and details of each answer."""
    rng = Random(seed)
    for _ in range(count):
        yield answered(servicer, rng.choice(calls), rng)
