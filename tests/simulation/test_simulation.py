"""The main proof: whatever the schedule, the stored result is that of the whole volume."""

import pytest

from ..support.files import content
from .world import World

SEEDS = 120


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_schedule_ends_in_the_result_of_the_whole_volume(seed: int) -> None:
    World(seed).run()


def test_a_seed_replays_its_schedule() -> None:
    first, second = World(7), World(7)
    first.run()
    second.run()
    assert (first.steps, first.computed) == (second.steps, second.computed)
    assert contents(first) == contents(second)


def contents(world: World) -> dict[str, bytes]:
    return {path: content(world.files, path) for path in world.files.paths}
