"""What a summary holds, and the limits of objects: exact at their ends."""

import numpy as np
import pytest

from fibstream.core.grid import Grid
from fibstream.services.refine.rule import object_fold

from .whole import cut, rule_of

VOXEL_NM3 = 8 * 4 * 4


def test_background_at_the_border_is_in_no_summary() -> None:
    """Its neighbours see by themselves that it is no hole."""
    grid, volume = Grid((4, 8, 8), (4, 4, 4)), np.zeros((4, 8, 8), np.uint8)
    for index in grid.indices():
        fragments, summary = cut(volume, grid, index, set(), rule_of())
        assert not fragments.any()
        assert {name: column.size for name, column in summary.items()} == dict.fromkeys(summary, 0)


@pytest.mark.parametrize(("least", "most", "kept"), [(5, 5, [5]), (6, None, [6]), (1, 4, [4])])
def test_an_object_of_exactly_a_limit_stays(least: int, most: int | None, kept: list[int]) -> None:
    volume = np.zeros((3, 7, 8), np.uint8)
    for row, voxels in ((1, 4), (3, 5), (5, 6)):
        volume[1, row, 1 : 1 + voxels] = 255
    rule = rule_of(min_volume_nm3=least * VOXEL_NM3, max_volume_nm3=most and most * VOXEL_NM3)
    grid, fold = Grid(volume.shape, (3, 7, 4)), object_fold(rule)
    for index in grid.indices():
        fold.put(index, cut(volume, grid, index, set(), rule)[1])
    assert [voxels for voxels, _ in fold.objects().values()] == kept
