"""Changes of objects and the watermark as they come: first what is, then what becomes."""

from itertools import islice

import grpc
import pytest

from fibstream.bus import wire
from fibstream.core.events import ObjectChanged
from fibstream.core.ids import gid
from fibstream.runtime.root import Root
from fibstream.v1 import chunk_pb2
from fibstream.v1 import refine_pb2 as pb

from ..support.patience import PATIENCE_S, eventually
from .cell import Cell, Stub, Watch


def listed(stub: Stub) -> list[ObjectChanged]:
    """Return the objects of `mito` that a list has now."""
    request = pb.ListObjectsRequest(dataset="cell", organelle="mito")
    return [wire.object_of(each) for each in stub.ListObjects(request, timeout=PATIENCE_S).objects]


def test_first_what_is_then_what_becomes(cell: Cell, stub: Stub) -> None:
    cell.change(9, "opened")
    old = [cell.change(9, "closed"), cell.change(4, "merged_into", into=2), cell.change(2, "grown")]
    cell.change(8, "closed", organelle="generic")
    watch = Watch(stub)
    assert watch.next(4) == [*old, (0, 1)]
    new = cell.change(2, "closed")
    assert watch.next(2) == [new, (0, 0)]
    watch.call.cancel()


def test_all_organelles_are_watched_without_a_name(cell: Cell, stub: Stub) -> None:
    both = [cell.change(9, "opened"), cell.change(9, "opened", organelle="generic")]
    watch = Watch(stub, "")
    assert watch.next(3) == [*both, (0, 2)]
    for z in range(3):
        cell.cut(z)
    cell.change(9, "closed")
    cell.caught_up()
    assert watch.next(2)[1] == (0, 1)  # the other organelle is not cut yet
    watch.call.cancel()


def test_the_watermark_follows_what_the_planner_has_seen(cell: Cell, stub: Stub) -> None:
    watch = Watch(stub)
    assert watch.next() == [(0, 0)]
    cell.cut(0)
    cell.cut(1)
    seen = cell.bus.end(wire.ledger_topics())
    cell.cut(2)
    begun = cell.change(gid((5, 1, 1)) + 1, "opened")
    # Objects of chunks that the planner has not seen may still be announced.
    assert watch.next(2) == [begun, (0, 1)]
    cell.caught_up(seen)
    assert watch.next() == [(5, 1)]
    ended = cell.change(begun.id, "closed")
    assert watch.next(2) == [ended, (8, 0)]
    cell.seal(10)
    cell.caught_up()
    assert watch.next() == [(10, 0)]
    cell.cut(1, status="suspect")
    cell.cut(2, status="failed")
    cell.caught_up()
    assert watch.next() == [(8, 0)]
    watch.call.cancel()


def test_a_record_that_nobody_can_read_is_passed_over(
    cell: Cell, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    cell.bus.publish(wire.OBJECTS, "cell/mito/1", b"\xff\xffgarbage")
    cell.bus.publish(wire.ledger_topic("fragments/mito"), "cell/fragments/mito/0.0.0", b"\xff")
    event = cell.change(2, "closed")
    watch = Watch(stub)
    assert watch.next(2) == [event, (0, 0)]
    assert listed(stub) == [event]
    watch.call.cancel()


def test_what_was_found_under_other_settings_is_left_out(cell: Cell, stub: Stub) -> None:
    cell.change(7, "closed", rule="of other settings")
    cell.change(8, "opened", rule="")  # of an earlier version
    event = cell.change(9, "closed")
    watch = Watch(stub)
    assert watch.next(2) == [event, (0, 0)]
    assert listed(stub) == [event]
    watch.call.cancel()


def test_chunks_that_were_cut_for_another_pipeline_settle_nothing(cell: Cell, stub: Stub) -> None:
    for z in range(3):
        cell.cut(z)
    before = cell.dataset.model_copy(update={"invert": True})
    cell.caught_up(planned=before)
    cell.pipeline_changed()
    watch = Watch(stub)
    assert watch.next() == [(0, 0)]
    cell.caught_up(settled=False)  # it has read what others cut, and found nothing of its own yet
    event = cell.change(9, "closed")
    assert watch.next() == [event]
    cell.caught_up()
    assert watch.next() == [(12, 0)]
    watch.call.cancel()


def let_in(stub: Stub) -> Watch:
    """Return a watch once there is room for it: the server sees within a moment who has left."""

    def try_it() -> Watch | None:
        watch = Watch(stub)
        try:
            return watch if watch.next() == [(0, 0)] else None
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            return None

    return eventually(try_it, "room for one more watcher")


def test_watchers_that_leave_hold_nothing(cell: Cell, root: Root, stub: Stub) -> None:
    # Each holds a thread of the server, and there are 64: six rounds would need 120.
    for _ in range(6):
        for watch in [let_in(stub) for _ in range(20)]:
            watch.call.cancel()


def test_the_messages_are_those_of_the_bus(cell: Cell, stub: Stub) -> None:
    event = cell.change(9, "merged_into", into=4)
    watch = Watch(stub)
    (message,) = islice(watch.call, 1)
    assert message.object == chunk_pb2.ObjectChanged(
        organelle="mito", change=chunk_pb2.OBJECT_CHANGE_MERGED_INTO, id=9, voxels=5, into=4,
        rule=event.rule,
    )  # fmt: skip
    assert wire.object_of(message.object) == event
    watch.call.cancel()
