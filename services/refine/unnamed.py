"""Ids by which a recipe chooses objects, and which no object has."""

from collections.abc import Iterable, Mapping
from typing import Any

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.events import GONE
from fibstream.core.grid import Index
from fibstream.core.stage import Arrays, Input

from .recipe import find_recipe


def chooses(organelle: Organelle) -> bool:
    """Whether an organelle's settings name objects by their ids."""
    return any(organelle.settings.get(word) for word in _choices(organelle))


def _choices(organelle: Organelle) -> list[str]:
    return find_recipe(organelle.recipe).settings.choices()


def unnamed_ids(
    dataset: Dataset, organelle: Organelle, summaries: Iterable[tuple[Input, Index, Arrays]]
) -> Mapping[str, list[int]]:
    """Return by setting, in order, the ids that are of no object.

    Parameters
    ----------
    dataset
        It is sealed.
    organelle
        One of its organelles; objects outside its limits of volume are none.
    summaries
        Every summary that its fold takes.

    Notes
    -----
    Objects are those of the recipe's own fold, without the choice.
    """
    settings: dict[str, Any] = {**organelle.settings}
    wanted = {word: settings.pop(word) for word in _choices(organelle) if settings.get(word)}
    free = organelle.model_copy(update={"settings": settings | {word: [] for word in wanted}})
    fold = find_recipe(organelle.recipe).fold(dataset, free)
    for source, index, summary in summaries:
        fold.put(source, index, "", summary)
    fold.seal(dataset.grid)
    objects = {change.id for change in fold.changes() if change.kind not in GONE}
    found = {word: sorted(set(ids) - objects) for word, ids in wanted.items()}
    return {word: ids for word, ids in found.items() if ids}
