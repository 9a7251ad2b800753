"""A prediction cut once, and put together by many settings: what each makes, counted against truth.

Where labels are fragments under the mapping of a fold, another fold needs no voxels: how many of
each fragment lie in each truth object is counted once. The stages and the fold are the recipe's
own, so what is counted is what it labels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.core.keys import canonical
from fibstream.core.stage import Arrays, Input, Made, Stage
from fibstream.kernels.mapping import decode_mapping
from fibstream.kernels.scores import Pairs, count_pairs

from .recipe import find_recipe

Ids = NDArray[np.uint64]


class Shared(NamedTuple):
    """Voxels of each pair of a truth id and a fragment of a chunk, without those of neither."""

    truth: Ids
    fragment: Ids
    voxels: NDArray[np.int64]


class CountedFragments:
    """The fragments of a prediction, as one stage cuts them, counted against the truth.

    It holds the summary of each chunk, as a planner does, and no voxels.
    """

    def __init__(self, cut: Stage) -> None:
        (self._fragments,) = [output.name for output in cut.outputs if output.dtype]
        (summary,) = [output.name for output in cut.outputs if not output.dtype]
        self._source = Input(cut.name, summary)
        self._summaries: dict[Index, Arrays] = {}
        self._shared: dict[Index, Shared] = {}

    def add(self, index: Index, found: Mapping[str, Made], truth: NDArray[np.integer[Any]]) -> None:
        """Take what the stage makes of a chunk, and the truth there, ids ``(z, y, x)``."""
        fragments, summary = found[self._fragments], found[self._source.name]
        assert isinstance(fragments, np.ndarray) and isinstance(summary, dict)
        pairs = count_pairs(truth, fragments)
        names = np.array(list(pairs), np.uint64).reshape(-1, 2)
        self._summaries[index] = summary
        self._shared[index] = Shared(
            names[:, 0], names[:, 1], np.array(list(pairs.values()), np.int64)
        )

    def pairs(self, dataset: Dataset, organelle: Organelle) -> Pairs:
        """Return the voxels of each pair of a truth id and an object that settings make.

        ``organelle`` is one whose stage cuts the same fragments: see `cut_key`.
        """
        fold = find_recipe(organelle.recipe).fold(dataset, organelle)
        labelling = stages_of(dataset, organelle)[1]
        for index, summary in self._summaries.items():
            fold.put(self._source, index, "", summary)
        fold.seal(dataset.grid)
        found = Pairs()
        for index, shared in self._shared.items():
            mapping = fold.extra(labelling.name, index)
            assert mapping is not None, f"{labelling.name}: the fold has no answer"
            ids = self._summaries[index]["ids"]
            labels = _looked_up(ids, decode_mapping(ids, mapping), shared.fragment)
            for truth, label, voxels in zip(
                shared.truth.tolist(), labels.tolist(), shared.voxels.tolist(), strict=True
            ):
                found[truth, label] += voxels
        del found[0, 0]
        return found


def _looked_up(ids: Ids, labels: Ids, fragments: Ids) -> Ids:
    """Return the label of each fragment of sorted ``ids``, 0 of 0."""
    if not ids.size:
        assert not fragments.any(), "a fragment of a chunk is not in its summary"
        return np.zeros_like(fragments)
    at = np.minimum(np.searchsorted(ids, fragments), ids.size - 1)
    assert ((ids[at] == fragments) | (fragments == 0)).all()
    return np.where(fragments == 0, np.uint64(0), labels[at])


def stages_of(dataset: Dataset, organelle: Organelle) -> tuple[Stage, Stage]:
    """Return the stage that cuts a prediction, and the one that labels fragments by a mapping.

    Raises
    ------
    WrongUse
        The recipe has other stages.
    """
    stages = find_recipe(organelle.recipe).stages(dataset, organelle)
    if len(stages) != 2 or stages[0].folded or not stages[1].folded:
        raise WrongUse(
            f"recipe {organelle.recipe}: labels are not made of fragments by a mapping alone; "
            "expected one as generic, mito or agglomerated"
        )
    return stages[0], stages[1]


def cut_key(dataset: Dataset, organelle: Organelle) -> bytes:
    """Return what decides the fragments of an organelle of one dataset."""
    cut = stages_of(dataset, organelle)[0]
    return canonical([cut.name, cut.version, dict(cut.parameters)])
