"""Choosing networks: the published query on small stores, checked by hand."""

import math
from collections.abc import Mapping

import pyarrow as pa
import pytest

from fibstream.app.evaluation.selection import (
    Choice,
    Manual,
    Score,
    StopRule,
    last_iteration,
    manual_selections,
    one_dilation,
    ranked,
    scores_of,
    select,
)
from fibstream.app.evaluation.store import SCHEMA
from fibstream.core.errors import WrongUse

RULE = StopRule(first=3, nothing=2, cap=9)


def series(*values: float) -> Mapping[int, float]:
    return {n + 1: value for n, value in enumerate(values) if not math.isnan(value)}


NAN = math.nan


@pytest.mark.parametrize(
    ("dice", "distance", "last"),
    [
        # Both worse twice in a row: at the second time, though better later.
        (series(0.1, 0.5, 0.4, 0.3, 0.9), series(9, 5, 6, 7, 1), 4),
        (series(0.1, 0.5, 0.4, 0.5, 0.3, 0.2), series(9, 5, 6, 5, 6, 7), 6),
        # Only one of the two is worse, or not twice in a row: the cap.
        (series(0.1, 0.5, 0.4, 0.3), series(9, 5, 6, 6), 9),
        (series(0.1, 0.5, 0.4, 0.5, 0.4), series(9, 5, 6, 5, 6), 9),
        (series(0.5, 0.4, 0.4), series(5, 6, 7), 9),
        # Too early.
        (series(0.5, 0.4, 0.3, 0.6), series(5, 6, 7, 4), 3),
        (series(0.5, 0.4, 0.6), series(5, 6, 4), 9),
        # A point without a value is passed over.
        (series(0.1, 0.5, 0.4, NAN, 0.3), series(9, 5, 6, NAN, 7), 5),
        (series(0.1, 0.5, 0.4, NAN, 0.3), series(9, 5, 6, 7, 7), 5),
        # Nothing above the threshold by then.
        (series(0, 0, 0.9), series(NAN, NAN, 1), 2),
        (series(NAN, NAN, 0.9), series(NAN, NAN, 1), 2),
        (series(0, 0.1, 0.2), series(NAN, 9, 8), 9),
    ],
)
def test_training_counts_until_it_gets_worse(
    dice: Mapping[int, float], distance: Mapping[int, float], last: int
) -> None:
    assert last_iteration(dice, distance, RULE) == last


def test_the_cap_holds_even_where_it_gets_worse_later() -> None:
    dice = {n: 1.0 - n / 100 for n in range(1, 20)}
    distance = {n: float(n) for n in range(1, 20)}
    assert last_iteration(dice, distance, StopRule(first=12, nothing=2, cap=9)) == 9


def store() -> list[Score]:
    """Two setups at two iterations on three crops; distances go against Dice."""
    dice = {
        ("a", 1): (0.9, 0.1, 0.2), ("a", 2): (0.5, 0.5, 0.5),
        ("b", 1): (0.1, 0.8, 0.6), ("b", 2): (0.1, 0.8, 0.6),
    }  # fmt: skip
    return [
        Score("mito", setup, iteration, f"c{n}", "cell1" if n < 2 else "cell2", metric, value)
        for (setup, iteration), values in dice.items()
        for n, each in enumerate(values)
        for metric, value in (("dice", each), ("mean_false_distance", 100 * each))
    ]


def test_the_best_mean_over_crops_is_first_and_of_equals_the_earlier() -> None:
    last = {"a": 9, "b": 9}
    found = ranked(store(), "mito", "dice", crops={"c0", "c1", "c2"}, last=last)
    assert found[:2] == [Choice("b", 1, 0.5, 3), Choice("a", 2, 0.5, 3)]
    found = ranked(store(), "mito", "dice", crops={"c1", "c2"}, last=last)
    assert [(c.setup, c.iteration) for c in found[:2]] == [("b", 1), ("b", 2)]
    least = ranked(store(), "mito", "mean_false_distance", crops={"c0"}, last=last)
    assert (least[0].setup, least[0].iteration) == ("b", 1)  # the smallest distance


def test_a_mean_over_fewer_crops_is_not_chosen() -> None:
    """Those may be the easy ones: here it would be the best."""
    some = [*store(), Score("mito", "c", 1, "c0", "cell1", "dice", 0.99)]
    last = {"a": 9, "b": 9, "c": 9}
    found = ranked(some, "mito", "dice", crops={"c0", "c1", "c2"}, last=last)
    assert found == ranked(store(), "mito", "dice", crops={"c0", "c1", "c2"}, last=last)
    assert ranked(some, "mito", "dice", crops={"c0"}, last=last)[0].setup == "c"


def test_a_named_label_has_the_dilation_that_is_asked_for() -> None:
    scores = store()
    assert one_dilation(scores, [], 8.0) == scores  # it chooses where a label has several
    with pytest.raises(WrongUse, match="dilated by 0 nm; give --dilate-nm"):
        one_dilation(scores, ["mito"], 8.0)


def test_two_values_of_one_comparison_are_refused() -> None:
    """A crop that was scored twice would count for two, and leave all others out."""
    row = {"path": "p", "dataset": None, "setup": "a", "iteration": 1, "label": "mito", "crop": "c",
           "threshold": 127.0, "metric": "dice", "metric_params": "{}", "value": 0.5,
           "raw_dataset": None, "parent_path": None, "parent_dataset_id": None,
           "refined": False}  # fmt: skip
    again = row | {"path": "moved", "raw_dataset": "elsewhere"}
    assert len(scores_of(pa.Table.from_pylist([row, again], SCHEMA))) == 1
    with pytest.raises(WrongUse, match=r"two values of dice for mito at crop c, 0.5 and 0.6"):
        scores_of(pa.Table.from_pylist([row, again | {"value": 0.6}], SCHEMA))


def test_what_was_trained_too_long_does_not_count() -> None:
    found = ranked(store(), "mito", "dice", crops={"c0"}, last={"a": 0, "b": 1})
    assert [(c.setup, c.iteration) for c in found] == [("b", 1)]


def test_validation_chooses_on_the_crop_and_test_on_all_others() -> None:
    found = {(s.way, s.crop): s for s in select(store(), "mito", "dice", StopRule(9, 1, 9))}
    assert len(found) == 6
    validation, test = found["validation", "c0"], found["test", "c0"]
    assert (validation.choice.setup, validation.choice.iteration) == ("a", 1)
    assert validation.scored["dice"] == 0.9
    assert (test.choice.setup, test.choice.iteration) == ("b", 1)
    assert test.scored["dice"] == 0.1  # on the crop that was left out
    assert test.choice.score == pytest.approx(0.7)
    assert test.choice.crops == 2


def test_a_manual_choice_is_scored_on_its_cell() -> None:
    found = manual_selections(store(), [Manual("b", "mito", 2, "cell1")])
    assert [(s.crop, s.scored["dice"]) for s in found] == [("c0", 0.1), ("c1", 0.8)]
    with pytest.raises(WrongUse, match="no score of it in cell2"):
        manual_selections(store(), [Manual("b", "mito", 7, "cell2")])


def test_a_label_or_metric_that_is_not_there_is_named() -> None:
    with pytest.raises(WrongUse, match="it has mito"):
        select(store(), "er", "dice")
    with pytest.raises(WrongUse, match="expected one of dice"):
        select(store(), "mito", "beauty")
