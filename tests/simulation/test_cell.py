"""The main proof for every organelle of a cell: 27 of them, masks between them, two phantoms."""

import pytest

from .cell import cell_world


# In both the pipeline changes while the schedule runs, in 5 to 28 organelles; masks reach across
# chunks in both. More seeds run by ``make simulate CELLS=1000``.
@pytest.mark.parametrize("seed", [5, 14])
def test_every_schedule_of_a_cell_ends_in_the_result_of_the_whole_volume(seed: int) -> None:
    cell_world(seed).run()
