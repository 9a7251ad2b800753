"""Whatever a stage reads is written by a stage, or lands: else nobody would miss it."""

from dataclasses import replace

import pytest

from fibstream.app.catalogue import landed, stages_of
from fibstream.app.wiring import check_wiring, unwritten
from fibstream.bus.memory import MemoryFiles
from fibstream.core.errors import WrongUse
from fibstream.core.service import Service
from fibstream.core.stage import Input, Stage
from fibstream.registry import services

from .test_blocks import designed

DATASET = designed((32, 32, 32), 8, 12, 10, 7)
STAGES = stages_of(DATASET, MemoryFiles())
LANDING = landed(DATASET)


def wrong(read: Input) -> list[Input]:
    """Return inputs that differ from one by a single word each."""
    other = [replace(read, stage=f"{read.stage}x"), replace(read, name=f"{read.name}x")]
    if not read.dtype:
        return other
    return [*other, replace(read, dtype="int8"), replace(read, level=read.level + 9)]


@pytest.mark.parametrize("number", range(len(STAGES)), ids=[s.name for s in STAGES])
def test_an_input_that_differs_in_any_word_is_found(number: int) -> None:
    stage = STAGES[number]
    assert stage.inputs
    assert list(unwritten(STAGES, LANDING, DATASET.chunk)) == []
    for place, read in enumerate(stage.inputs):
        for bad in wrong(read):
            changed = replace(
                stage, inputs=(*stage.inputs[:place], bad, *stage.inputs[place + 1 :])
            )
            stages = [*STAGES[:number], changed, *STAGES[number + 1 :]]
            assert list(unwritten(stages, LANDING, DATASET.chunk)) == [(changed, bad)]


def test_without_what_writes_it_an_input_is_found() -> None:
    for stage in STAGES:
        readers = [s for s in STAGES if s is not stage for i in s.inputs if i.stage == stage.name]
        rest = [s for s in STAGES if s is not stage]
        assert [s for s, _ in unwritten(rest, LANDING, DATASET.chunk)] == readers
    assert {read.stage for _, read in unwritten(STAGES, [], DATASET.chunk)} == {
        read.stage for read in LANDING
    }


def test_a_service_that_waits_for_what_nobody_writes_makes_no_dataset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = next(s for s in services() if s.name == "analysis")
    cut = next(stage for stage in STAGES if stage.family == "fragments")
    lost = Input("labels/er", "labels/er", "uint64", level=7)

    def stages(self: Service, dataset: object, files: object) -> list[Stage]:
        return [replace(cut, inputs=(lost,))] if self is service else []

    monkeypatch.setattr(Service, "stages", stages)
    with pytest.raises(WrongUse, match=r"reads labels/er@7 \(uint64\) of stage labels/er, which"):
        check_wiring(DATASET)
