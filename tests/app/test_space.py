"""The room that a dataset takes follows from what the services declare."""

import numpy as np
import pytest

from fibstream import registry
from fibstream.app.space import SHARE_GREY, SHARE_IDS, disk_bytes
from fibstream.bus.memory import MemoryFiles
from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.stage import Output, OwnedArray
from fibstream.core.subject import Lattice

from ..registry.test_declaring import dataset

VOXELS = 64**3
IDS = 8 * SHARE_IDS
PYRAMID = 1 + 1 / 8 + 1 / 64  # chunks of 32: three levels


def per_voxel(given: Dataset) -> float:
    arrays = [each for s in registry.services() for each in s.arrays(given, MemoryFiles())]
    return disk_bytes(given, arrays) / VOXELS


def test_every_stage_counts_contacts_and_stored_predictions_among_them() -> None:
    given = dataset()
    organelles, contacts = len(given.organelles), 1
    wanted = PYRAMID + SHARE_GREY * PYRAMID  # raw, and one prediction
    wanted += (organelles + contacts) * IDS * (1 + PYRAMID)  # fragments have one level
    wanted -= IDS * sum("parent" in o.inputs for o in given.organelles)  # a part has none
    assert per_voxel(given) == pytest.approx(wanted)
    without = given.model_copy(update={"steps": {}})
    assert per_voxel(given) - per_voxel(without) == pytest.approx(IDS * (1 + PYRAMID))
    stored = (*given.predictions, Prediction(name="er"))
    more = per_voxel(given.model_copy(update={"predictions": stored})) - per_voxel(given)
    assert more == pytest.approx(SHARE_GREY * PYRAMID)


def test_raw_of_two_bytes_takes_twice_as_much() -> None:
    given = dataset()
    more = per_voxel(given.model_copy(update={"dtype": "uint16"})) - per_voxel(given)
    assert more == pytest.approx(PYRAMID)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        (Output("a", "uint8"), SHARE_GREY),
        (Output("a", "int16"), 2 * SHARE_GREY),
        (Output("a", "uint32"), 4 * SHARE_IDS),
        (Output("a", "float32"), 4.0),
        (Output("a", "uint64", "mode", first=3), IDS / 8**3),
    ],
)
def test_an_array_takes_room_by_its_type_and_the_levels_that_are_written(
    output: Output, wanted: float
) -> None:
    lattice = Lattice((64, 64, 64)) if output.first else Lattice()
    found = disk_bytes(dataset(), [OwnedArray(output, lattice)])
    assert found == pytest.approx(wanted * VOXELS)
    assert np.isfinite(found)
