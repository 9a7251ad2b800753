"""What a stage may declare: a declaration that no task can carry out is refused at once."""

import pytest

from fibstream.core.grid import Halo
from fibstream.core.stage import RAW, Input, Stage
from fibstream.core.subject import CHUNKS, WHOLE, Lattice, Subjects

WIDE = Lattice((32, 32, 32))
HALO = Halo.of(1)
ARRAY = Input(RAW, RAW, "uint8")


def declared(*inputs: Input, subjects: Subjects = CHUNKS, folded: bool = False) -> Stage:
    return Stage("a/b", 1, inputs, (), {}, lambda _: {}, folded, subjects)


def summary(lattice: Lattice = CHUNKS, halo: Halo = Halo.of(0)) -> Input:  # noqa: B008
    return Input("c", "summaries/c", halo=halo, subjects=lattice)


@pytest.mark.parametrize(
    ("inputs", "subjects", "folded", "reason"),
    [
        ((), WHOLE, True, "of the whole dataset, it cannot be folded too"),
        ((summary(), ARRAY), WHOLE, False, "summaries alone, not the array raw"),
        ((summary(),), WIDE, False, "the summary summaries/c of the same cell alone"),
        ((ARRAY, summary(WIDE)), CHUNKS, False, "expected its own lattice and no halo"),
        ((summary(halo=HALO),), CHUNKS, False, "expected its own lattice and no halo"),
    ],
)
def test_what_no_task_can_carry_out_is_one_line(inputs, subjects, folded, reason) -> None:
    with pytest.raises(ValueError, match=f"stage a/b: .*{reason}") as caught:
        declared(*inputs, subjects=subjects, folded=folded)
    assert "\n" not in str(caught.value)


def test_summaries_of_other_cells_are_for_the_whole_dataset() -> None:
    declared(summary(WIDE), summary(halo=HALO), subjects=WHOLE)
    declared(summary(WIDE), ARRAY, subjects=WIDE, folded=True)
    declared(summary(), Input(RAW, RAW, "uint8", HALO, subjects=WIDE))
