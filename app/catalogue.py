"""Every stage of every service of a dataset, for `verify` and the in-process runner."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from fibstream import registry
from fibstream.bus import wire
from fibstream.core.dataset import Dataset
from fibstream.core.events import Place, Record
from fibstream.core.fold import Fold, Folds
from fibstream.core.frontier import Frontier
from fibstream.core.grid import Index
from fibstream.core.ports import Bus, Files
from fibstream.core.stage import RAW, Input, Output, Stage
from fibstream.core.subject import CHUNKS, OBJECTS, Lattice, ObjectId, Subject, members
from fibstream.runtime.planner import landed_record
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob, Changed, Store, blobs


def stage_names(dataset: Dataset, files: Files) -> set[str]:
    """Return the names of all stages of a dataset as its pipeline is now, what lands too."""
    stages = stages_of(dataset, files)
    return {*(each.stage for each in landed(dataset)), *(stage.name for stage in stages)}


def landed(dataset: Dataset) -> list[Input]:
    """Return the arrays of a dataset that land: raw first, then stored predictions."""
    return [each for service in registry.services() for each in service.lands(dataset)]


def stages_of(dataset: Dataset, files: Files) -> list[Stage]:
    """Return all stages of a dataset, in the order in which data pass through its services."""
    return [stage for service in registry.services() for stage in service.stages(dataset, files)]


class Segmentation(NamedTuple):
    """Labelled objects of a dataset: an array of ids and the table of what they measure.

    The table has at least ``id``, ``voxels`` and the bounds ``min_*`` and ``max_*`` of each object.
    """

    name: str  # of an organelle, or of a path below the dataset such as contacts/a--b
    group: str  # path of the multiscale array
    table: str  # path of the Parquet file


def segmentations(dataset: Dataset, files: Files) -> list[Segmentation]:
    """Return every segmentation that the stages of a dataset write, with a table each."""
    outputs = [output for stage in stages_of(dataset, files) for output in stage.outputs]
    paths = {output.name for output in outputs}
    found = []
    for group in [output.name for output in outputs if output.pyramid == "mode"]:
        name = group.removeprefix("labels/")
        if (table := f"tables/{name}.parquet") in paths:
            found.append(Segmentation(name, group, table))
    return found


def grey_arrays(dataset: Dataset, files: Files) -> list[Output]:
    """Return every array of grey values that a stage writes, but raw and predictions."""
    apart = {RAW, *(prediction.path for prediction in dataset.predictions)}
    outputs = (output for stage in stages_of(dataset, files) for output in stage.outputs)
    return [o for o in outputs if o.dtype and o.pyramid == "mean" and o.name not in apart]


def restore_log(dataset: Dataset, store: Store, bus: Bus) -> None:
    """Write a log that was lost (or was in memory) again from the stamps, contents unread.

    Without it a planner would see chunks arrive one after the other and make labels of open
    objects that are final in the store already.
    """
    for place, record in stored(dataset, store):
        if record is not None:
            key = wire.record_key(dataset.name, *place)
            bus.publish(wire.ledger_topic(place[0]), key, wire.encode(record))


def stored(dataset: Dataset, store: Store) -> Iterator[tuple[Place, Record | None]]:
    """Yield every output of a dataset with its record by its stamps; None where it lacks one."""
    for place, items in outputs(dataset, store.files, store):
        stamps = [(item, stamp) for item in items if (stamp := store.stamp(item)) is not None]
        yield place, record_of(dataset, place, stamps) if len(stamps) == len(items) else None


def outdated(dataset: Dataset, store: Store, records: Mapping[Place, Record]) -> set[Place]:
    """Return the outputs whose key is not the one wanted, and what is made of such outputs.

    Their settings or inputs were others. ``records`` are of what is stored; of an output that lacks
    an input nothing is known.
    """
    found: set[Place] = set()
    for frontier, own in _frontiers(dataset, store, records):
        # What a planner would make again, though it is there.
        found |= {(task.stage, task.subject) for task in frontier.tasks()} & records.keys()
        left = {place for place in records if place[0] in own} - found
        while more := {p for p in left if any(read in found for read in frontier.reads(p))}:
            found |= more
            left -= more
    return found


def unknown(
    dataset: Dataset, store: Store, records: Mapping[Place, Record],
    absent: Collection[Place], logged: Collection[Place],
) -> set[Place]:  # fmt: skip
    """Return which outputs that are ``absent`` a lost log may have known.

    All that they are made of is stored, or was as they were, and the log, which has the outputs
    ``logged``, does not know it all: that it has not the absent one shows nothing.
    """
    found: set[Place] = set()
    for frontier, own in _frontiers(dataset, store, records):
        left = {place for place in absent if place[0] in own}
        there = records.keys() | found
        while more := {p for p in left if _is_blind(set(frontier.reads(p)), there, logged)}:
            found |= more
            there |= more
            left -= more
    return found


def _is_blind(reads: set[Place], there: Collection[Place], logged: Collection[Place]) -> bool:
    """Whether all that an output reads is there, and the log does not know it all."""
    return all(read in there for read in reads) and any(read not in logged for read in reads)


def _frontiers(
    dataset: Dataset, store: Store, records: Mapping[Place, Record]
) -> Iterator[tuple[Frontier, set[str]]]:
    """Yield what the planner of each service knows from records, and the names of its stages.

    Services come in the order in which data pass through them.
    """
    for service in registry.services():
        stages = service.stages(dataset, store.files)
        fold = Folds(service.folds(dataset))
        if dataset.grid.sealed:
            fold.seal(dataset.grid)
        frontier = Frontier(stages, dataset.grid, fold.extra)
        for record in records.values():
            frontier.apply(record)
        for source, record in product(fold.inputs, records.values()):
            content = record.hashes.get(source.name)
            if source.stage == record.stage and content and isinstance(record.subject, tuple):
                _put(fold, store, source, record.subject, content)
        for place in fold.dirty():
            frontier.touch(place)
        frontier.finish()
        yield frontier, {stage.name for stage in stages}


def _put(fold: Fold, store: Store, source: Input, index: Index, content: str) -> None:
    """Put a stored summary into a fold; of one that is damaged, what follows is not known."""
    with contextlib.suppress(Changed):
        fold.put(source, index, content, store.read_summary(source, index, content))


def record_of(dataset: Dataset, place: Place, stamps: list[tuple[Blob, Stamp]]) -> Record | None:
    """Return the record of a stage output whose blobs have one key; None if they differ."""
    if len({stamp.key for _, stamp in stamps}) != 1:
        return None
    for each in landed(dataset):
        if each.stage == place[0]:
            stamp = stamps[0][1]
            return landed_record(each, stamp) if stamp.stage == each.stage else None
    contents = {item.label: stamp.hash for item, stamp in stamps}
    return Record(*place, "ready", stamps[0][1].key, contents)


def outputs(dataset: Dataset, files: Files, store: Store) -> Iterator[tuple[Place, list[Blob]]]:
    """Yield every stage output of a dataset and its blobs, whether they exist or not.

    Of an open volume only chunks of which some array has a file are known.
    """
    # Not by the files of raw alone: what was computed from a lost one may still be there.
    chunks = sorted(dataset.grid.indices() if dataset.grid.sealed else _begun(dataset, store))
    for each in landed(dataset):
        for index in chunks:
            yield (each.stage, index), [Blob(each.name, index, each.dtype)]
    objects = _objects(dataset, store, chunks)
    for stage in stages_of(dataset, files):
        for subject in [*_subjects(stage, dataset, chunks), *objects.get(stage.name, ())]:
            yield (stage.name, subject), _blobs(stage, subject, dataset)


def blobs_of(dataset: Dataset, files: Files, place: Place) -> list[Blob]:
    """Return the blobs of one output of a stage of a dataset, or of what lands."""
    name, subject = place
    for each in landed(dataset):
        if each.stage == name:
            return [Blob(each.name, subject, each.dtype)]
    (stage,) = (stage for stage in stages_of(dataset, files) if stage.name == name)
    return _blobs(stage, subject, dataset)


def _blobs(stage: Stage, subject: Subject, dataset: Dataset) -> list[Blob]:
    made = (blobs(output, subject, stage.subjects, dataset.chunk) for output in stage.outputs)
    return [blob for each in made for blob in each]


def _begun(dataset: Dataset, store: Store) -> set[Index]:
    """Return the chunks of which an array has a file: one that lands, or one made of it."""
    arrays = {each.name for each in landed(dataset)}
    for stage in stages_of(dataset, store.files):
        if stage.subjects == CHUNKS:
            arrays |= {output.name for output in stage.outputs if output.dtype}
    return {index for name in arrays for index in store.chunks(name)}


def _subjects(stage: Stage, dataset: Dataset, chunks: Sequence[Index]) -> Iterable[Subject]:
    """Return the subjects of a stage, but objects; of an open volume those in ``chunks``."""
    if not isinstance(stage.subjects, Lattice) or dataset.grid.sealed:
        return members(stage.subjects, dataset.grid)
    cells = stage.subjects.grid(dataset.grid)
    return {cell for chunk in chunks for cell in cells.covering(dataset.grid.box(chunk))}


def _objects(
    dataset: Dataset, store: Store, chunks: Sequence[Index]
) -> Mapping[str, list[ObjectId]]:
    """Return the objects of each stage of objects, as the stored summaries have them.

    Needs no log: the folds are made anew, of the services that have such a stage.
    """
    found: dict[str, list[ObjectId]] = {}
    for service in registry.services():
        stages = service.stages(dataset, store.files)
        if not any(stage.subjects is OBJECTS for stage in stages):
            continue
        for name, subject in _folded(Folds(service.folds(dataset)), dataset, store, chunks):
            if isinstance(subject, ObjectId):
                found.setdefault(name, []).append(subject)
    return found


def _folded(fold: Fold, dataset: Dataset, store: Store, chunks: Sequence[Index]) -> Iterator[Place]:
    """Yield the folded outputs that can be made of the stored summaries of chunks."""
    if dataset.grid.sealed:
        fold.seal(dataset.grid)
    for source, index in product(fold.inputs, chunks):
        stamp = store.stamp(Blob(source.name, index))
        if stamp is not None:
            _put(fold, store, source, index, stamp.hash)
    yield from (place for place in fold.dirty() if fold.extra(*place) is not None)
