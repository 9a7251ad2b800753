"""Every event comes back from its bytes, and bytes that are no event are refused as Poison."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream import registry
from fibstream.bus import wire
from fibstream.core.errors import Poison
from fibstream.core.events import (
    MAX_EVENT,
    DeadLetter,
    ObjectChanged,
    PipelineChanged,
    Progress,
    Record,
    Sealed,
    Task,
)
from fibstream.core.keys import NamedInput
from fibstream.core.subject import WHOLE, ObjectId
from fibstream.v1 import chunk_pb2 as pb

TEXT = st.text(max_size=12)
INDEX = st.tuples(*[st.integers(0, 2**21)] * 3)
SUBJECT = st.just(WHOLE) | INDEX | st.integers(1, 2**64 - 1).map(ObjectId)
NUMBER = st.integers(0, 2**64 - 1)
KINDS = ("opened", "grown", "merged_into", "closed", "final", "withdrawn")
STATUSES = st.sampled_from(("ready", "suspect", "dropped", "failed", "removed"))
RECORDS = st.builds(
    Record, TEXT, SUBJECT, STATUSES, TEXT,
    st.dictionaries(TEXT, TEXT, max_size=3), TEXT, st.booleans(),
)  # fmt: skip
TASKS = st.builds(
    Task, TEXT, SUBJECT, TEXT,
    st.lists(st.builds(NamedInput, TEXT, TEXT, INDEX, TEXT), max_size=3).map(tuple),
    st.binary(max_size=40), TEXT,
)  # fmt: skip
EVENTS = st.one_of(
    RECORDS,
    TASKS,
    st.builds(Sealed, st.integers(1, 2**21)),
    st.just(PipelineChanged()),
    st.builds(
        ObjectChanged, TEXT, st.sampled_from(KINDS), NUMBER, NUMBER,
        st.none() | st.integers(1, 2**64 - 1),
    ),
    st.builds(Progress, TEXT, NUMBER, st.booleans(), *[NUMBER] * 4),
    st.builds(DeadLetter, TEXT, TASKS, TEXT, st.integers(0, 2**32 - 1), TEXT),
)  # fmt: skip


@given(EVENTS)
def test_an_event_comes_back_from_its_bytes(event: wire.Event) -> None:
    again = wire.decode(wire.encode(event))
    assert again == event
    assert type(again) is type(event)


@given(TASKS)
def test_inputs_come_back_as_names_that_can_be_looked_up(task: Task) -> None:
    again = wire.decode(wire.encode(task))
    assert isinstance(again, Task)
    assert hash(again.inputs) == hash(task.inputs)
    assert all(type(i) is NamedInput and type(i[2]) is tuple for i in again.inputs)


def test_equal_records_are_equal_bytes() -> None:
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    first = wire.encode(Record("s", (0, 0, 0), "ready", "k", one))
    assert wire.encode(Record("s", (0, 0, 0), "ready", "k", other)) == first


@given(st.binary(max_size=80))
def test_random_bytes_are_poison(data: bytes) -> None:
    with pytest.raises(Poison):
        wire.decode(data)


@given(st.sampled_from(("record", "task", "object", "progress", "sealed", "dead_letter")))
def test_a_kind_without_its_values_is_poison_or_its_defaults(kind: str) -> None:
    """Zero is the default of every field: where no zero is allowed, it is refused."""
    message = pb.Event(**{kind: {}})
    if kind == "progress":
        assert isinstance(wire.decode(message.SerializeToString()), wire.Event)
    else:
        with pytest.raises(Poison):
            wire.decode(message.SerializeToString())


@pytest.mark.parametrize("subject", [{}, {"whole": False}])
def test_a_subject_that_names_none_is_poison(subject: dict[str, bool]) -> None:
    message = pb.Event(task={"stage": "s", "subject": subject})
    with pytest.raises(Poison, match="no subject"):
        wire.decode(message.SerializeToString())


def test_a_field_of_a_newer_version_is_read_over() -> None:
    newer = wire.encode(Sealed(7)) + b"\xfa\x3f\x03abc"  # field 127, three bytes
    assert wire.decode(newer) == Sealed(7)


@given(EVENTS, st.data())
def test_a_damaged_event_is_an_event_or_poison(event: wire.Event, data: st.DataObject) -> None:
    """Protobuf has no checksum: a reader must only never fall over."""
    whole = wire.encode(event)
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.binary(max_size=1))
    try:
        assert isinstance(wire.decode(whole[:at] + byte + whole[at + 1 :]), wire.Event)
    except Poison as poison:
        assert "\n" not in str(poison)


@pytest.mark.parametrize(("more", "allowed"), [(0, True), (1, False)])
def test_an_event_is_at_most_64_kb(more: int, allowed: bool) -> None:
    filled = Record("s", (0, 0, 0), "failed", reason="x" * 60_000)
    missing = MAX_EVENT - len(wire.encode(filled))
    record = Record("s", (0, 0, 0), "failed", reason="x" * (60_000 + missing + more))
    assert MAX_EVENT == 64 * 1024
    if allowed:
        assert wire.decode(wire.encode(record)) == record
    else:
        with pytest.raises(Poison, match="at most 65536"):
            wire.encode(record)


def test_a_record_has_a_topic_of_its_family_and_a_key_of_its_chunk() -> None:
    assert wire.ledger_topic("prediction/mito") == wire.ledger_topic("prediction/er")
    assert {wire.ledger_topic(f) for f in registry.families()} == set(wire.ledger_topics())
    with pytest.raises(ValueError, match="stage skeleton/mito: no service declares the family"):
        wire.ledger_topic("skeleton/mito")
    keys = {
        wire.record_key(d, s, i)
        for d in ("a", "b")
        for s in ("raw", "labels/x")
        for i in ((1, 2, 3), (12, 3, 0), (1, 23, 0), WHOLE)
    }
    assert len(keys) == 16


@pytest.mark.parametrize(
    ("topic", "key", "event"),
    [
        ("fibstream.chunk-ready.raw", "d/raw/0.0.1", Record("raw", (0, 0, 0), "ready", "1")),
        ("fibstream.chunk-ready.labels", "d/raw/0.0.0", Record("raw", (0, 0, 0), "ready", "1")),
        ("fibstream.progress", "d/refine", Progress("ingest", 1, True, 1, 0, 0, 0)),
        ("fibstream.objects", "d/mito/2", ObjectChanged("mito", "opened", 1, 1)),
    ],
)
def test_an_event_under_the_key_or_topic_of_another_is_none(topic, key, event) -> None:
    """In a log the last entry of a key wins: it would win over the other."""
    with pytest.raises(Poison, match="under the key"):
        wire.check_key(topic, key, event)
