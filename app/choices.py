"""Whether the ids by which objects of a dataset are chosen are those of objects."""

from collections.abc import Iterator

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.echo import cut, listed
from fibstream.core.grid import Index
from fibstream.core.ports import Files
from fibstream.core.stage import Arrays, Input
from fibstream.services.refine.recipe import find_recipe
from fibstream.services.refine.unnamed import chooses, unnamed_ids
from fibstream.store.store import Blob, Changed, Store

MOST_CHUNKS = 4096  # whose summaries `status` reads: seconds


def unnamed(dataset: Dataset, files: Files, most_chunks: int | None = None) -> list[str]:
    """Return a line for each choice that names no object: ``drop_ids: 17 is no object of er``.

    Nothing is said of an organelle while a summary is missing: what is still to come may have the
    id. ``most_chunks`` of a volume are looked at; of a larger one it is said that none was.
    """
    lines = []
    for organelle in dataset.organelles if dataset.grid.sealed else ():
        if not chooses(organelle):
            continue
        z, y, x = dataset.grid.count
        if most_chunks is not None and z * y * x > most_chunks:
            lines.append(
                f"{cut(organelle.name, 40)}: whether the ids that it chooses are of objects is "
                f"not looked at in {z * y * x} chunks; fibstream report tells"
            )
            continue
        try:
            found = unnamed_ids(dataset, organelle, _summaries(dataset, files, organelle))
        except Changed:
            continue
        lines += [_line(word, ids, organelle.name) for word, ids in found.items()]
    return lines


def _line(word: str, ids: list[int], name: str) -> str:
    told = "is no object" if len(ids) == 1 else "are no objects"
    return f"{word}: {listed(map(str, ids))} {told} of {cut(name, 40)}"


def _summaries(
    dataset: Dataset, files: Files, organelle: Organelle
) -> Iterator[tuple[Input, Index, Arrays]]:
    """Yield every summary of an organelle; raise Changed for one that is missing or damaged."""
    store = Store(files, dataset.grid)
    for source in find_recipe(organelle.recipe).fold(dataset, organelle).inputs:
        for index in dataset.grid.indices():
            stamp = store.stamp(Blob(source.name, index))
            if stamp is None:
                raise Changed(source.stage, index)
            yield source, index, store.read_summary(source, index, stamp.hash)
