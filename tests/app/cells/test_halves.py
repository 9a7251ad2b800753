"""Each half is measured as a volume of its own: as its voxels alone, counted in one piece, are."""

import numpy as np
import pytest
from scipy import ndimage

from fibstream.app.cells.halves import (
    COLUMNS,
    LOOK,
    MEASURES,
    Read,
    deviations,
    draw,
    figures,
    halves,
)
from fibstream.app.reference import table_of
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box

VOXEL = (8.0, 4.0, 5.0)
SHAPE = (13, 16, 19)


def blobs(seed: int) -> np.ndarray:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(SHAPE), 1.5)
    return smooth > np.quantile(smooth, 0.7)


def reader(mask: np.ndarray) -> Read:
    return lambda box: mask[box.slices()]


def whole(mask: np.ndarray) -> dict[str, float]:
    labels = mask.astype(np.uint64)
    (row,) = table_of(labels, np.zeros(mask.shape), VOXEL).to_pylist()
    return {name: row[name] for name in MEASURES}


@pytest.mark.parametrize("seed", range(3))
def test_halves_are_those_of_their_voxels_in_any_blocks(seed: int) -> None:
    truth, raw, refined = blobs(seed), blobs(seed + 50), blobs(seed + 90)
    tests = {"raw": raw, "refined": refined}
    readers = {name: reader(mask) for name, mask in tests.items()}
    rows = deviations(reader(truth), readers, SHAPE, VOXEL)
    assert len(rows) == 7 * 2 * 3 and list(rows[0]) == list(COLUMNS)
    for row in rows:
        box = halves(SHAPE)[row["half"]]
        right, value = (whole(m[box.slices()])[row["measure"]] for m in (truth, tests[row["test"]]))
        assert (row["truth"], row["value"]) == (right, value)
        assert row["deviation"] == (value - right) / right
        cut = figures(reader(truth), box, VOXEL, block=(7, 5, 6))
        assert cut[row["measure"]] == right


def test_halves_tile_the_volume() -> None:
    found = halves(SHAPE)
    assert list(found) == ["all", "z low", "z high", "y low", "y high", "x low", "x high"]
    for axis in "zyx":
        count = np.zeros(SHAPE, int)
        for side in ("low", "high"):
            count[found[f"{axis} {side}"].slices()] += 1
        assert (count == 1).all()
    assert found["x low"] == Box((0, 0, 0), (13, 16, 9))
    with pytest.raises(WrongUse, match="expected 2 voxels an edge"):
        halves((1, 5, 5))


def test_a_half_without_truth_has_no_deviation_and_no_point() -> None:
    truth = np.zeros(SHAPE, bool)
    truth[:5, 2:12, 2:12] = True
    rows = deviations(reader(truth), {"refined": reader(~truth)}, SHAPE, VOXEL)
    none = [r for r in rows if r["deviation"] is None]
    assert {r["half"] for r in none} == {"z high"} and {r["truth"] for r in none} == {0.0}
    figure = draw(rows, "crop")
    (points,) = [line.get_ydata() for line in figure.axes[0].get_lines()
                 if line.get_label() == LOOK["refined"][2]]  # fmt: skip
    assert list(points) == [100 * r["deviation"] for r in rows
                            if r["measure"] == "volume_nm3" and r not in none]  # fmt: skip
