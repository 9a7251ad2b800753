"""When a dataset is complete: every chunk has landed, and the planners have nothing left to do."""

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus
from fibstream.core.events import Progress, Record, Status
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import ABSENT
from fibstream.core.stage import RAW, Input
from fibstream.services.ingest.edges.progress import Arrived, DatasetFollower

OWNERS = ("ingest", "refine")
GRID = Grid((16, 8, 16), (8, 8, 8))
LANDS = [Input(RAW, RAW, "uint8"), Input("stored/p", "predictions/p", "uint8")]
STAGES = [*(each.stage for each in LANDS), "labels/mito"]
CHUNKS = sorted(GRID.indices())


@dataclass
class Cell:
    """A dataset whose planners have nothing to do, whatever has landed."""

    bus: MemoryBus = field(default_factory=lambda: MemoryBus(lambda: 0.0))

    def __post_init__(self) -> None:
        self.follower = DatasetFollower(self.bus, "cell", OWNERS, LANDS, STAGES, "p")

    def record(
        self, stage: str, index: Index, status: Status = "ready", content: str = "h"
    ) -> None:
        value = wire.encode(Record(stage, index, status, "1", {RAW: content}))
        self.bus.publish(wire.ledger_topic(stage), wire.record_key("cell", stage, index), value)

    def land(self, *stages: str, chunks: list[Index] = CHUNKS) -> None:
        for stage, index in itertools.product(stages, chunks):
            self.record(stage, index)

    def complete(self, grid: Grid = GRID) -> bool:
        """Whether it is, once its planners have seen all and answered what is requested."""
        for _ in range(3):
            asked = self.bus.end([wire.CONTROL])
            end = self.bus.end(wire.ledger_topics())
            for name in OWNERS:
                value = wire.encode(Progress(name, end, True, asked, 0, 0, 0, "p"))
                self.bus.publish(wire.PROGRESS, f"cell/{name}", value)
            self.follower.poll(grid)
        return self.follower.complete


def test_a_record_of_a_chunk_outside_the_grid_does_not_count() -> None:
    cell = Cell()
    cell.land(RAW, "stored/p", chunks=CHUNKS[1:])
    for stage in (RAW, "stored/p"):
        cell.record(stage, (0, 0, 2**31))  # a bit for each chunk of its row would take 256 MiB
    assert not cell.complete()
    cell.land(RAW, "stored/p", chunks=CHUNKS[:1])
    assert cell.complete()


def test_what_failed_in_an_earlier_pipeline_does_not_count() -> None:
    cell = Cell()
    for stage in ("labels/mito", "labels/earlier"):
        cell.record(stage, CHUNKS[0], "failed")
    cell.follower.poll(GRID)
    assert list(cell.follower.failed) == [("labels/mito", CHUNKS[0])]


def test_nothing_landed_is_not_complete_and_is_not_even_proved() -> None:
    cell = Cell()
    assert not cell.complete()
    assert cell.bus.read([wire.CONTROL], 0) == []
    cell.land(RAW, "stored/p")
    assert cell.complete()


@pytest.mark.parametrize("stage", [RAW, "stored/p"])
def test_one_chunk_of_one_array_is_missing(stage: str) -> None:
    cell = Cell()
    (other,) = {RAW, "stored/p"} - {stage}
    cell.land(other)
    cell.land(stage, chunks=CHUNKS[:-1])
    cell.land("pyramid/raw")  # not what lands
    assert not cell.complete()
    cell.record(stage, CHUNKS[-1], content=ABSENT)
    assert cell.complete()
    cell.record(stage, CHUNKS[0], "suspect")
    assert not cell.complete()


def test_a_chunk_that_is_damaged_does_not_let_a_client_wait_and_is_named() -> None:
    cell = Cell()
    cell.land(RAW, "stored/p")
    cell.record(RAW, CHUNKS[0], "failed")
    assert cell.complete()
    assert set(cell.follower.failed) == {(RAW, CHUNKS[0])}


def test_an_open_dataset_is_never_complete() -> None:
    cell = Cell()
    cell.land(RAW, "stored/p")
    assert not cell.complete(Grid((None, 8, 16), (8, 8, 8)))
    assert cell.complete()


@given(st.lists(st.tuples(st.tuples(*[st.integers(0, 3)] * 3), st.booleans())))
def test_what_arrived_is_a_set(events: list[tuple[Index, bool]]) -> None:
    arrived, wanted = Arrived(), set[Index]()
    for index, there in events:
        arrived.put(index, there=there)
        (wanted.add if there else wanted.discard)(index)
        assert arrived.count == len(wanted)
