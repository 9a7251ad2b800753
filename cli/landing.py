"""`fibstream land`: a client that uploads a volume to running services, chunk by chunk."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from fibstream.app.engines import make_engine
from fibstream.app.sampling import confused_note, polarity_note, unimaged_note
from fibstream.client import Client
from fibstream.client.ingest import Info
from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.services.inference.edges.model import with_digest
from fibstream.services.inference.port import Engine
from fibstream.services.inference.seen import View
from fibstream.services.ingest.edges.landing import Order, ordered
from fibstream.services.ingest.edges.sources import (
    check_same_factors,
    open_raw,
    shape_text,
    slices_text,
)
from fibstream.services.ingest.edges.stored import StoredPrediction, check_length, open_stored
from fibstream.services.ingest.unimaged import GIVE
from fibstream.volumes.lengths import Size, size_text
from fibstream.volumes.positions import NOWHERE, place_text, position_at
from fibstream.volumes.sources import Source

from .progress import mask_read, track

log = logging.getLogger(__name__)

EngineMaker = Callable[[Path, int], Engine]  # of a network's file and a number of threads

UPLOADS = 4  # at a time: while one is compressed and synced, the next is on its way


class Given(NamedTuple):
    """A prediction as the command line gives it: its name and where it, or its labels, are."""

    name: str
    path: str
    labels: bool


def given_predictions(predictions: Sequence[str], labels: Sequence[str]) -> list[Given]:
    """Return what ``--prediction`` and ``--labels`` name; raise WrongUse for one given twice."""
    found: dict[str, Given] = {}
    for flag, words in (("--prediction", predictions), ("--labels", labels)):
        for word in words:
            name, _, path = word.partition("=")
            if not (name and path):
                raise WrongUse(f"{flag} {word}: expected NAME=PATH")
            if name in found:
                raise WrongUse(f"{flag} {word}: {name} is given twice")
            found[name] = Given(name, path, flag == "--labels")
    return list(found.values())


def land_volume(
    client: Client, name: str, raw: str, *, order: str, seed: int, limit: int | None, seal: bool,
    given: Sequence[Given] = (), voxel_size_nm: Size | None = None, factors: Index | None = None,
    mask: str | None = None, make: EngineMaker = make_engine,
) -> dict[str, int]:  # fmt: skip
    """Land a volume, a mask and predictions beside it, in an order; return chunks by outcome.

    A volume that states no voxel size has that of the dataset's data, unless one is given. It is
    averaged as the dataset declares; ``factors``, where given, must be that.

    The dataset must have the volume's extent; while it is open only whole layers of chunks land,
    unless ``seal`` fixes its end first.
    """
    if order not in get_args(Order):
        raise WrongUse(f"--order {order}: expected {', '.join(get_args(Order))}")
    info = client.info(name)
    check_same_factors(factors, info)
    with ExitStack() as stack:
        if mask is not None and not info.absent_mask:
            raise WrongUse(
                f"--absent-mask {mask}: dataset {name} was created without --absent-mask, "
                "none lands"
            )
        ended = seal or info.sealed
        opened = open_raw(raw, info, voxel_size_nm, mask=mask, track=mask_read, ended=ended)
        source = stack.enter_context(closing(opened))
        check_source(source, info, raw)
        _refuse_labels_of_an_open_volume(given, sealed=ended)
        stored = [stack.enter_context(closing(_opened(each, info, source))) for each in given]
        grid = _landing_grid(source, info, raw, sealed=ended)  # refuses before anything is tried
        for note in _notes(source, stored, info, make):
            log.warning("%s", note)
        if seal and not info.sealed:
            client.seal(name, source.shape[0])
        places = list(ordered(grid, cast("Order", order), seed))[:limit]
        landed = _landed(client, name, source, stored, grid, places)
        arrays = 1 + len(stored) + (source.mask is not None)
        return dict(Counter(track(landed, "landed", len(places) * arrays)))


def _landing_grid(source: Source, info: Info, raw: str, *, sealed: bool) -> Grid:
    """Return the chunks that land: of an open dataset whole layers, and the user is told."""
    if sealed:
        return Grid(source.shape, clip_chunk(info.chunk, source.shape))
    depth, layer, factor = source.shape[0], info.chunk[0], info.downsample[0]
    left = depth % layer
    if left == depth:
        raise WrongUse(f"{raw}: not one layer of chunks; give --seal when it is the whole volume")
    if left:
        log.warning(
            "the last %d of %s%s do not land: while dataset %s is open, layers of %d do; give "
            "--seal when this is the whole volume",
            left, slices_text(depth, factor), "," if factor > 1 else "", info.name, layer,
        )  # fmt: skip
    grid = Grid((depth - left, *source.shape[1:]), info.chunk)
    Grid(info.shape, info.chunk).check_growth((grid.count[0] - 1, 0, 0))
    return grid


def _refuse_labels_of_an_open_volume(given: Sequence[Given], *, sealed: bool) -> None:
    for each in given:
        if each.labels and not sealed:
            raise WrongUse(
                f"--labels {each.name}={each.path}: distances need the end of the volume; give "
                "--seal, or seal the dataset before"
            )


def _notes(
    source: Source, stored: Sequence[StoredPrediction], info: Info, make: EngineMaker
) -> Iterator[str]:
    """Yield what the user should know of what lands."""
    declared = info.absent_mask and source.mask is None  # by a mask that lands apart
    if not declared and (note := unimaged_note(source, info.absent_value, GIVE)):
        yield note
    yield from polarity_notes(source, info, make)
    for each in stored:
        if note := confused_note(each.source):
            yield note
    if source.position is NOWHERE:
        yield (
            f"{source.name} begins at {place_text(source)}; dataset {info.name} states "
            f"{size_text(info.offset_nm)} nm"
        )


def polarity_notes(source: Source, info: Info, make: EngineMaker) -> Iterator[str]:
    """Yield what networks of the dataset tell of its polarity: those that are here, byte by byte.

    One of the same name with other weights would tell of another training.
    """
    view = View(info.contrast, info.invert, info.absent_value)
    for sha256 in info.networks.values():
        if path := with_digest(sha256):
            try:
                engine = make(path, os.cpu_count() or 1)
            except WrongUse as error:  # on this machine: services compute, and have checked it
                yield f"polarity is not tried: {error}"
                continue
            if note := polarity_note(
                source, view, engine, give=GIVE, leave_out="create the dataset without"
            ):
                yield note


def _opened(given: Given, info: Info, raw: Source) -> StoredPrediction:
    """Open a prediction that fits raw; raise WrongUse for one that the dataset does not expect."""
    flag = "--labels" if given.labels else "--prediction"
    if given.labels and info.predictions.get(given.name) == 0:
        raise WrongUse(
            f"{flag} {given.name}={given.path}: the dataset was made for a probability, which no "
            f"labels have; expected --prediction {given.name}=PATH"
        )
    if given.name not in info.predictions:
        raise WrongUse(
            f"{flag} {given.name}={given.path}: no such prediction lands in this dataset; what "
            f"does is {', '.join(info.predictions) or 'none'}"
        )
    made_of, length_nm = info.made_of[given.name], info.predictions[given.name]
    if made_of and not given.labels:
        raise WrongUse(
            f"{flag} {given.name}={given.path}: the dataset was made for distances of {made_of}; "
            f"expected --labels {given.name}=PATH"
        )
    if raw.position is None:  # it lies where the dataset does
        raw = replace(raw, position=position_at(info.offset_nm, info.voxel_size_nm))
    stored = open_stored(
        given.name,
        given.path,
        labels=given.labels,
        raw=raw,
        factors=info.downsample,
        mask=made_of == "mask",
        squash_nm=length_nm,
    )
    try:
        check_length(given.name, info.predictions[given.name], given.path, stored.length_nm)
    except WrongUse:
        stored.close()
        raise
    return stored


def _landed(
    client: Client, name: str, source: Source, stored: Sequence[StoredPrediction], grid: Grid,
    places: Sequence[Index],
) -> Iterator[str]:  # fmt: skip
    """Land chunks, some at a time, and yield the outcome of each, in order."""
    pending: deque[Future[str]] = deque()
    arrays: list[tuple[Mapping[str, Any], Source | StoredPrediction]] = [({}, source)]
    if source.mask is not None:
        arrays.append(({"mask": True}, source.mask))
    arrays += [({"prediction": each.name}, each) for each in stored]
    with ThreadPoolExecutor(UPLOADS) as pool:
        try:
            for index, (which, array) in product(places, arrays):
                if len(pending) == UPLOADS:
                    yield pending.popleft().result()
                voxels = array.read(grid.box(index))
                pending.append(pool.submit(client.land, name, index, voxels, **which))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def check_source(source: Source, info: Info, raw: str) -> None:
    """Raise WrongUse when a volume is not the one that a dataset was made for."""
    z, y, x = info.shape
    if str(source.dtype) != info.dtype:
        raise WrongUse(f"{raw} is {source.dtype}; the dataset is {info.dtype}")
    if source.shape[1:] != (y, x) or (z is not None and source.shape[0] != z):
        shape = shape_text(source.shape, info.downsample)
        raise WrongUse(f"{raw} is {shape}; the dataset is {info.shape}")
