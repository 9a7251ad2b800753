"""A contact does not reach into what a mask says was never imaged."""

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.stage import MASK, Block, Patch
from fibstream.services.analysis.stages.contact_words import Contact
from fibstream.services.analysis.stages.contacts import fragment_stage

from ..simulation.draws import draw_dataset


def test_masked_voxels_are_in_no_contact() -> None:
    dataset = draw_dataset(random.Random(1)).model_copy(
        update={"absent_mask": True, "absent_value": None}
    )
    stage = fragment_stage(dataset, Contact(a="one", b="two", distance_nm=8, name="c"))
    assert [source.name for source in stage.inputs] == ["labels/one", "labels/two", MASK]
    box = Box((0, 0, 0), (6, 6, 6))
    one, two = np.zeros(box.shape, np.uint64), np.zeros(box.shape, np.uint64)
    one[:, :3], two[:, 3:] = 1, 2
    mask = np.ones(box.shape, np.uint8)
    mask[1:3, :, 2:4] = 0
    arrays: dict[str, NDArray[Any]] = {"labels/one": one, "labels/two": two, MASK: mask}
    block = Block((0, 0, 0), box, {name: Patch(array, box) for name, array in arrays.items()})
    found = stage.compute(block)["fragments/contacts/c"]
    assert isinstance(found, np.ndarray)
    assert found[mask > 0].any()
    assert not found[mask == 0].any()
    arrays[MASK] = np.ones_like(mask)
    block = Block((0, 0, 0), box, {name: Patch(array, box) for name, array in arrays.items()})
    whole = stage.compute(block)["fragments/contacts/c"]
    assert isinstance(whole, np.ndarray)
    assert whole[mask == 0].any()
