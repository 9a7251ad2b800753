"""A stage of the whole dataset: its table is made once, follows its inputs, and is never lost."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from fibstream.bus import wire
from fibstream.bus.memory import MemoryHandle
from fibstream.core.errors import Poison
from fibstream.core.events import Record, Task
from fibstream.core.keys import NamedInput
from fibstream.core.stage import Block, Input, Made, Output, Stage
from fibstream.core.subject import WHOLE
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner
from fibstream.store import manifest
from fibstream.store.store import Blob

from .line import (
    CHUNKS,
    FIRST,
    GRID,
    LAST,
    MIDDLE,
    OPEN,
    STAGE,
    SUMMARY,
    Line,
    settle,
    task_of,
    turn,
    volume,
    watched,
)

SUMS = "tables/sums"
TABLE = Blob("tables/sums.csv", WHOLE)
MANIFEST = manifest.path(SUMS, WHOLE)


def gather(block: Block) -> Mapping[str, Made]:
    """Return a table of the sums of the known chunks."""
    assert (block.subject, block.grid) == (WHOLE, GRID)
    cells = block.cells[SUMMARY]
    assert [cell in cells for cell in (FIRST, (9, 9, 9))] == [True, False]
    lines = [f"{cell[0]},{int(cells[cell]['sum'][0])}" for cell in sorted(cells)]
    return {TABLE.name: "\n".join(lines).encode()}


class Summed(NamedTuple):
    """A finished line with a table of its sums; ``made`` keeps what each table was made of."""

    line: Line
    planner: Planner
    made: list[Block]

    def table(self) -> bytes:
        """Return the table that is stored and intact."""
        assert self.line.site.store.intact(TABLE) is not None
        return self.line.content()[TABLE.path].partition(b'{"hash')[0]

    def right(self) -> bool:
        """Whether the table is that of the whole volume."""
        raw = self.line.raw
        lines = [f"{i[0]},{raw[GRID.box(i).slices()].sum()}" for i in CHUNKS]
        return self.table() == "\n".join(lines).encode()

    def generation(self) -> tuple[int, ...]:
        return self.line.site.store.stamp_and_generation(TABLE)[1]

    def task(self) -> Task:
        """Return the task of the table, which stays on the queue."""
        (task,) = self.line.queue()
        assert task.subject is WHOLE
        return task

    def change(self, seed: int = 1) -> None:
        """Land another middle chunk and make all but the table of it."""
        self.line.raw[4:8] = volume(seed)[4:8]
        self.line.land(MIDDLE)
        turn(self.planner)
        assert self.line.work() == ["computed"] * 3
        turn(self.planner)


def started(line: Line | None = None) -> Summed:
    made: list[Block] = []
    line = line or Line()
    table = Stage(
        SUMS, 1, (Input(STAGE, SUMMARY),), (Output(TABLE.name),), {}, watched(made, gather),
        subjects=WHOLE,
    )  # fmt: skip
    line.more = (table,)
    line.land()
    return Summed(line, line.planner(), made)


@pytest.fixture
def summed() -> Summed:
    found = started()
    settle(found.line, found.planner)
    return found


def test_it_is_made_once_of_all_chunks(summed: Summed) -> None:
    line, planner, made = summed
    assert summed.right()
    assert (len(made), sorted(made[0].cells[SUMMARY])) == (1, CHUNKS)
    assert (planner.wanted, planner.frontier.recorded, planner.settled) == (4, 4, True)
    generation = summed.generation()
    settle(line, planner)
    settle(line, line.planner())
    assert (len(made), summed.generation()) == (1, generation)


def test_its_record_and_stamp_name_the_manifest_of_what_it_was_made_of(summed: Summed) -> None:
    line = summed.line
    record, stamp = line.record(WHOLE, SUMS), line.site.store.intact(TABLE)
    assert stamp is not None
    assert (record.status, record.key, record.hashes) == (
        "ready", stamp.key, {TABLE.name: stamp.hash},
    )  # fmt: skip
    assert (stamp.subject, stamp.inputs) == (WHOLE, ())
    wanted = tuple(NamedInput(STAGE, SUMMARY, i, line.record(i).hashes[SUMMARY]) for i in CHUNKS)
    assert manifest.read(line.site.store, SUMS, WHOLE, stamp.manifest) == wanted


def test_it_waits_until_nothing_else_is_left() -> None:
    line, planner, made = started()
    for ready in range(3):
        turn(planner)
        assert WHOLE not in [t.subject for t in line.queue()]
        assert not planner.settled
        delivery = line.bus.take(wire.task_topic("blur"), "w", 1)
        assert delivery is not None
        line.handle(task_of(delivery.value))
        line.bus.acknowledge(delivery, "w")
        assert len(line.ledger(STAGE)) == ready + 1
    turn(planner)
    assert [t.subject for t in line.queue()] == [WHOLE]
    assert not planner.settled
    assert line.work() == ["computed"]
    assert sorted(made[0].cells[SUMMARY]) == CHUNKS
    assert not planner.settled
    turn(planner)
    assert planner.settled


def test_it_is_not_sent_while_the_planner_does_not_look_whether_it_is_idle() -> None:
    line, planner, _ = started()
    turn(planner)
    line.work()
    drive(planner.consume())
    drive(planner.act(check_idle=False))
    assert line.queue() == []
    assert not planner.settled
    drive(planner.act())
    assert [t.subject for t in line.queue()] == [WHOLE]


def test_it_follows_its_inputs(summed: Summed) -> None:
    summed.change()
    assert not summed.right()
    assert not summed.planner.settled
    settle(summed.line, summed.planner)
    assert summed.right()
    assert len(summed.made) == 2


def test_equal_inputs_make_no_other(summed: Summed) -> None:
    line, planner, made = summed
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    settle(line, planner)
    assert line.status() == "ready"
    assert (len(made), planner.settled) == (1, True)


def test_while_an_input_is_suspected_it_is_not_made_of_the_others(summed: Summed) -> None:
    line, planner, made = summed
    line.site.publish(Record(STAGE, MIDDLE, "suspect"))
    turn(planner)
    assert [t.subject for t in line.queue()] == [MIDDLE]
    settle(line, planner)
    assert len(made) == 1


def test_before_the_seal_it_is_made_of_what_is_known() -> None:
    line = Line(OPEN)
    made: list[Block] = []

    def known(block: Block) -> Mapping[str, Made]:
        made.append(block)
        return {TABLE.name: repr(sorted(block.cells[SUMMARY])).encode()}

    line.more = (
        Stage(SUMS, 1, (Input(STAGE, SUMMARY),), (Output(TABLE.name),), {}, known, subjects=WHOLE),
    )
    line.land()
    planner = line.planner()
    settle(line, planner)
    assert [sorted(b.cells[SUMMARY]) for b in made] == [[FIRST, MIDDLE]]
    line.seal()
    settle(line, planner)
    assert [sorted(b.cells[SUMMARY]) for b in made] == [[FIRST, MIDDLE], CHUNKS]
    assert [b.grid for b in made] == [OPEN, GRID]


# -- what is lost or damaged -----------------------------------------------------------------------


def test_a_lost_record_costs_no_computation(summed: Summed) -> None:
    line, _, made = summed
    generation = summed.generation()
    line.bus.clear([wire.ledger_topic("tables")])
    settle(line, line.planner())
    assert line.status(WHOLE, SUMS) == "ready"
    assert (len(made), summed.generation()) == (1, generation)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_a_lost_table_is_found_and_made_again(summed: Summed, restarted: bool, moved: bool) -> None:
    line, planner, made = summed
    before = line.content()
    if moved:
        line.files.put(TABLE.path, before[line.blobs(FIRST)[1].path])
    else:
        line.files.delete(TABLE.path)
    settle(line, line.planner() if restarted else planner)
    assert line.content() == before
    assert len(made) == 2


def test_a_damaged_table_that_is_suspected_is_made_again(summed: Summed) -> None:
    line, planner, made = summed
    before = line.content()
    line.flip(TABLE, 0)
    assert line.site.store.intact(TABLE) is None
    line.site.publish(Record(SUMS, WHOLE, "suspect"))
    settle(line, planner)
    assert line.content() == before
    assert len(made) == 2


@pytest.mark.parametrize("damage", ["rot", "loss"])
def test_a_damaged_summary_is_suspected_by_the_worker_and_made_again(
    summed: Summed, damage: str
) -> None:
    line, planner, made = summed
    before = line.content()
    line.files.delete(TABLE.path)
    turn(planner, reconcile=True)
    if damage == "rot":
        line.flip(line.blobs(MIDDLE)[1])
    else:
        line.files.delete(line.blobs(MIDDLE)[1].path)
    assert line.handle(summed.task()) == "dropped"
    assert (line.status(), line.status(WHOLE, SUMS)) == ("suspect", "dropped")
    assert TABLE.path not in line.content()
    line.bus.forget()
    settle(line, planner)
    assert line.content() == before
    assert len(made) == 3  # it was called, and read the damaged one


def test_a_summary_that_was_replaced_is_suspected_by_the_worker(summed: Summed) -> None:
    line, planner, _ = summed
    line.files.delete(TABLE.path)
    turn(planner, reconcile=True)
    old = summed.task()
    line.files.put(line.blobs(LAST)[1].path, line.content()[line.blobs(FIRST)[1].path])
    assert line.handle(old) == "dropped"
    assert line.status(LAST) == "suspect"
    line.bus.forget()
    settle(line, planner)
    assert summed.right()


# -- the manifest ----------------------------------------------------------------------------------


def damaged(line: Line) -> None:
    handle = line.files.open(MANIFEST)
    assert isinstance(handle, MemoryHandle)
    data = bytearray(handle.read(0, handle.size))
    data[5] ^= 1
    line.files.put(MANIFEST, bytes(data))


def lost(line: Line) -> None:
    line.files.delete(MANIFEST)


def replaced(line: Line) -> None:
    manifest.put(line.site.store, SUMS, WHOLE, [NamedInput(STAGE, SUMMARY, FIRST, "other")])


@pytest.mark.parametrize("happens", [damaged, lost, replaced])
def test_a_task_whose_manifest_is_not_the_one_it_names_ends_and_is_sent_anew(
    summed: Summed, happens: Callable[[Line], None]
) -> None:
    line, planner, made = summed
    before = line.content()
    line.files.delete(TABLE.path)
    turn(planner, reconcile=True)
    happens(line)
    assert line.work() == ["dropped"]
    assert [r.status for r in line.ledger()] == ["ready"] * 6 + ["dropped"]
    settle(line, planner)
    assert line.content() == before
    assert len(made) == 2


def test_a_task_whose_key_does_not_follow_from_its_manifest_is_refused(summed: Summed) -> None:
    line, planner, made = summed
    line.files.delete(TABLE.path)
    turn(planner, reconcile=True)
    task = summed.task()
    other = [NamedInput(STAGE, SUMMARY, i, line.record(i).hashes[SUMMARY]) for i in CHUNKS[:2]]
    named = manifest.put(line.site.store, SUMS, WHOLE, other)
    wrong = Task(SUMS, WHOLE, task.key, (), b"", named)
    assert line.handle(wrong) == "dropped"
    assert line.status(WHOLE, SUMS) == "dropped"
    assert len(made) == 1


# -- killed at any effect --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effects", "outcome", "computed"), [(1, "computed", 2), (2, "computed", 3), (3, "reused", 2)]
)
def test_a_task_whose_worker_died_is_finished_by_another(
    summed: Summed, effects: int, outcome: str, computed: int
) -> None:
    line, planner, made = summed
    summed.change()
    steps = line.worker().handle(summed.task())
    for _ in range(effects):
        next(steps)
    steps.close()  # after 3: between put and record
    assert line.status(WHOLE, SUMS) == "ready"  # the record of the table before
    assert line.work() == [outcome]
    settle(line, planner)
    assert summed.right()
    assert len(made) == computed


@pytest.mark.parametrize("effects", range(1, 4))
def test_a_planner_killed_at_any_effect_is_replaced_by_another(
    summed: Summed, effects: int
) -> None:
    """Before the manifest, between manifest and task, and after the task."""
    line, _, made = summed
    summed.change()
    line.bus.forget()
    planner = line.planner()
    drive(planner.consume())
    steps = planner.act()
    for _ in range(effects):
        next(steps, None)
    steps.close()
    settle(line, line.planner())
    assert summed.right()
    assert len(made) == 2


# -- failures --------------------------------------------------------------------------------------


def test_a_table_that_can_never_be_made_has_failed_until_its_inputs_change(
    summed: Summed,
) -> None:
    line, planner, _ = summed
    good = line.more

    def poisoned(block: Block) -> Mapping[str, Made]:
        raise Poison("cannot")

    summed.change()
    (task,) = line.queue()
    bad = Stage(SUMS, 1, good[0].inputs, good[0].outputs, {}, poisoned, subjects=WHOLE)
    line.more = (bad,)
    assert line.work() == ["failed"]
    turn(planner)
    assert planner.frontier.failed == {(SUMS, WHOLE)}
    assert planner.settled
    line.more = good
    settle(line, planner)
    assert line.record(WHOLE, SUMS).key == task.key
    assert line.status(WHOLE, SUMS) == "failed"
    summed.change(seed=2)
    settle(line, planner)
    assert planner.frontier.failed == set()
    assert summed.right()
