"""Chunks are acquired anew: summaries that contradict each other meet in one fold.

What the fold calls closed is then not final, but three laws hold at any time: a set with a
missing neighbour is open; a mapping that changes is reported; so is an object that changes. Once
every chunk has given its last summary, the fold is a fresh one.
"""

from collections.abc import Mapping

import numpy as np
import pytest

from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays
from fibstream.kernels.conventions import Connectivity
from fibstream.kernels.objects import ObjectFold, State
from fibstream.kernels.union_find import OUT, OUTSIDE, FragmentSets, neighbour_at
from fibstream.services.refine.rule import FillHoles, ObjectRule, object_fold

from ..support.geometry import triple
from .test_laws import RULES, follow
from .whole import cut, rule_of

VOXEL_NM3 = 8 * 4 * 4
HOLES: tuple[FillHoles, ...] = ("none", "one", "all")
Summaries = Mapping[Index, Arrays]


class Followed:
    """A fold, the mappings written as it reports them, and the objects as it reports them."""

    def __init__(self, rule: ObjectRule) -> None:
        self.fold = object_fold(rule)
        self.present: dict[Index, Arrays] = {}
        self.written: dict[Index, bytes] = {}
        self.objects: dict[int, tuple[int, State]] = {}

    def put(self, index: Index, summary: Arrays) -> None:
        self.present[index] = summary
        self.fold.put(index, summary)

    def write(self) -> None:
        """Write what is reported; nothing else may differ from what was written."""
        self.written.update({index: self.fold.mapping(index) for index in self.fold.dirty()})
        assert self.written == {index: self.fold.mapping(index) for index in self.present}

    def follow(self) -> None:
        follow(self.objects, self.fold.changes())
        assert self.objects == self.fold.objects()

    def check_open(self) -> None:
        """No set is closed while it waits for a chunk, or for the background beside it."""
        sets = self.fold._current()
        assert not any(sets.is_closed(r) and sets._pending[r] for r in sets.objects())
        for index, summary in self.present.items():
            missing = sum(1 << f for f in range(6) if neighbour_at(index, f) not in self.present)
            for node, touch in zip(sets.fragments(index), summary["touch"].tolist(), strict=True):
                root = sets.root(node)
                assert not (touch & missing and root != OUTSIDE and sets.is_closed(root))


def fresh(rule: ObjectRule, summaries: Summaries) -> ObjectFold:
    fold = object_fold(rule)
    for index in sorted(summaries):
        fold.put(index, summaries[index])
    return fold


def mixed(
    rng: np.random.Generator, rule: ObjectRule
) -> tuple[Summaries, list[tuple[Index, Arrays]]]:
    """Return the summaries of a new volume, and the order in which old and new ones come.

    Small chunks of noise: most pieces are closed soon, and at edges and corners of chunks the two
    volumes contradict each other. First every chunk gives the old or the new one, in the end all
    have given the new one.
    """
    grid = Grid(triple(rng.integers(4, 9, 3)), triple(rng.integers(2, 4, 3)))
    share = rng.uniform(0.1, 0.4) if rng.random() < 0.5 else rng.uniform(0.6, 0.9)
    before = rng.random(grid.extent) < share
    after = before ^ (rng.random(grid.extent) < 0.3)
    places = list(grid.indices())
    old, new = (
        {i: cut(np.where(mask, 200, 50).astype(np.uint8), grid, i, set(), rule)[1]
         for i in places}
        for mask in (before, after)
    )  # fmt: skip
    order = [places[at] for at in rng.permutation(len(places))]
    late = [index for index in order if rng.random() < 0.5]
    first = [(index, (old if index in late else new)[index]) for index in order]
    return new, first + [(late[at], new[late[at]]) for at in rng.permutation(len(late))]


@pytest.mark.parametrize(("connectivity", "holes"), RULES)
def test_old_and_new_summaries_of_two_volumes(connectivity: Connectivity, holes: FillHoles) -> None:
    rule = rule_of(connectivity=connectivity, fill_holes=holes)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        new, events = mixed(rng, rule)
        followed = Followed(rule)
        for index, summary in events:
            followed.put(index, summary)
            if rng.random() < 0.1:
                followed.fold.snapshot()
            if rng.random() < 0.7:
                followed.write()
                followed.follow()
                followed.check_open()
        followed.write()
        expected = fresh(rule, new)
        assert followed.written == {index: expected.mapping(index) for index in new}
        assert followed.fold.objects() == expected.objects()


def any_summary(rng: np.random.Generator, *, holes: bool) -> Arrays:
    """Return a summary that has the form of one, of few names: no volume need have it."""
    objects = np.arange(1, 9, dtype=np.uint64)
    background = np.arange(6 if holes else 1, dtype=np.uint64) + np.uint64(OUT)  # OUT is the first
    own = rng.choice(objects, rng.integers(4), replace=False)
    own_holes = background[1:][rng.random(background.size - 1) < 0.3]
    linked = [
        rng.choice(background if rng.random() < 0.4 else objects, 2) for _ in range(rng.integers(4))
    ]
    pairs = [
        (rng.choice(own_holes), rng.choice(own))
        for _ in range(rng.integers(4) if own.size and own_holes.size else 0)
    ]
    ids = np.sort(np.concatenate([own, own_holes]))
    return {
        "ids": ids,
        "voxels": rng.integers(0, 4, ids.size).astype("<u4"),
        "touch": (rng.integers(64, size=ids.size) & rng.integers(64, size=ids.size)).astype("u1"),
        "links": np.array(linked, "<u8").reshape(-1, 2),
        "pairs": np.array(pairs, "<u8").reshape(-1, 2),
    }


@pytest.mark.parametrize("holes", HOLES)
def test_summaries_of_no_volume_at_all(holes: FillHoles) -> None:
    """Every contradiction that the form of a summary allows, in a few chunks."""
    chunks = list(np.ndindex(2, 2, 3))
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rule = rule_of(
            fill_holes=holes,
            min_volume_nm3=float(rng.integers(0, 4)) * VOXEL_NM3,
            max_volume_nm3=[None, 8.0 * VOXEL_NM3][rng.integers(2)],
        )
        followed = Followed(rule)
        for _ in range(14):
            missing = [index for index in chunks if index not in followed.present]
            # Seldom one that is there: a fold that is built anew has forgotten what came before.
            some = missing if missing and rng.random() < 0.9 else chunks
            index = some[rng.integers(len(some))]
            followed.put(index, any_summary(rng, holes=holes != "none"))
            if rng.random() < 0.3:
                followed.fold.snapshot()
            if rng.random() < 0.7:
                followed.write()
            if rng.random() < 0.7:
                followed.follow()
            followed.check_open()
        last = next(iter(followed.present))
        followed.put(last, any_summary(rng, holes=holes != "none"))
        followed.write()
        expected = fresh(rule, followed.present)
        expected.snapshot()
        assert followed.fold.objects() == expected.objects()
        assert followed.written == {i: expected.mapping(i) for i in followed.present}


def test_summaries_of_one_volume_never_contradict_each_other() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rule = rule_of(connectivity=26, fill_holes=HOLES[seed % 3])
        new, _ = mixed(rng, rule)
        sets, places = FragmentSets(merging=rule.fill_holes == "all"), list(new)
        for at in rng.permutation(len(places)):
            sets.add(places[at], new[places[at]])
            assert not sets.contradicted
