"""Options of a contact: what they leave out, what they change of a key, what they refuse."""

import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.core.stage import Block, Patch
from fibstream.services.analysis.stages.contact_presets import PRESETS
from fibstream.services.analysis.stages.contact_words import Contact, resolve
from fibstream.services.analysis.stages.contacts import fragment_stage

from ..simulation.draws import draw_dataset

BOX = Box((0, 0, 0), (3, 3, 6))


def contact(**options: Any) -> Contact:
    return Contact.model_validate({"a": "one", "b": "two", "distance_nm": 8, "name": "c"} | options)


def block() -> Block:
    """Return two organelles that both have a voxel: 1 at x 0 and 1, 2 at x 1 and 2."""
    one, two = np.zeros((2, *BOX.shape), np.uint64)
    one[1, 1, :2], two[1, 1, 1:3] = 1, 2
    arrays: dict[str, NDArray[Any]] = {"labels/one": one, "labels/two": two}
    return Block((0, 0, 0), BOX, {name: Patch(array, BOX) for name, array in arrays.items()})


@pytest.mark.parametrize(
    ("loses", "kept"),
    [(None, ([0, 1], [1, 2])), ("one", ([0], [1, 2])), ("two", ([0, 1], [2]))],
)  # fmt: skip
def test_one_side_loses_what_both_have(loses: str | None, kept: tuple[list[int], ...]) -> None:
    sides = contact(loses=loses).sides(block())
    for side, wanted in zip(sides, kept, strict=True):
        assert side is not None
        assert np.flatnonzero(side.array[1, 1]).tolist() == wanted


def test_contacts_are_left_out_below_a_volume() -> None:
    voxel = (4.0, 4.0, 4.0)  # 64 nm3
    least = {v: contact(min_volume_nm3=v).least(voxel) for v in (0, 1, 64, 65, 640)}
    assert least == {0: 1, 1: 1, 64: 1, 65: 2, 640: 10}
    ceil = {v: contact(min_volume_nm3=v, min_rule="ceil").least(voxel) for v in (0, 1, 64, 65)}
    assert ceil == {0: 1, 1: 2, 64: 2, 65: 3}  # the published rule: larger than the cutoff


def test_options_at_their_default_keep_the_key_of_contacts_made_before() -> None:
    dataset = draw_dataset(random.Random(1))
    plain = fragment_stage(dataset, contact()).parameters
    assert set(plain) - {"absent_value"} == {"distance_nm", "kind", "voxel_size_nm"}
    for options in ({"ties": "java"}, {"loses": "one"}, {"kind": "refined"}):
        assert fragment_stage(dataset, contact(**options)).parameters != plain


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"loses": "three"}, "loses 'three': expected one of two different organelles"),
        ({"b": "one", "loses": "one"}, "loses 'one': expected one of two different organelles"),
        ({"ties": "java"}, "ties java: expected voxels of equal edges, not 8,4,4 nm"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], why: str) -> None:
    dataset = draw_dataset(random.Random(1))
    (made, *_) = dataset.organelles
    organelles = tuple(made.model_copy(update={"name": name}) for name in ("one", "two"))
    size = {"voxel_size_nm": (8.0, 4.0, 4.0), "organelles": organelles}
    with pytest.raises(WrongUse, match=why):
        resolve(dataset.model_copy(update=size), [contact(**options)])


def test_published_pairs_are_taken_by_name() -> None:
    """Those with overlap removed are the "masked (exclusive)" ones of the paper."""
    assert len(PRESETS) == 19
    assert sum(not pair.loses for pair in PRESETS.values()) == 6
    for name in PRESETS:
        found = Contact.model_validate({"preset": name})
        assert (found.kind, found.distance_nm) == ("refined", 20 if name.endswith("_mt") else 10)
        assert f"{found.a}_{found.b}" == name
        assert "preset" not in found.model_dump()  # a record spells it out
    assert Contact.model_validate({"preset": "er_mito"}).loses == "mito"
    mine = {"preset": "er_mito", "b": "my-mito", "distance_nm": 30.0, "kind": "naive"}
    found = Contact.model_validate(mine)
    assert (found.a, found.b, found.loses) == ("er", "my-mito", "my-mito")
    assert (found.distance_nm, found.kind) == (30, "naive")
    with pytest.raises(ValidationError, match="preset 'er_er': expected er_ribo, "):
        Contact.model_validate({"preset": "er_er"})
    with pytest.raises(ValidationError, match="preset 3: expected"):
        Contact.model_validate({"preset": 3})
