"""The record of a dataset, read from its store."""

import contextlib

from pydantic import ValidationError

from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.echo import cut
from fibstream.core.errors import Damaged, NotFound
from fibstream.core.ports import Files, Generation, Handle

MAX_RECORD = 16 << 20  # bytes: a pipeline of 64 kB and the cards of its networks take a hundredth


def read_dataset(files: Files) -> Dataset:
    """Read the dataset record; raise NotFound without one, Damaged for one that is none.

    This and ``RecordWatch`` are the only readers of records: all names in one are checked.
    """
    return read_generation(files)[0]


def read_generation(files: Files) -> tuple[Dataset, Generation]:
    """Read the dataset record, and the generation by which it is replaced."""
    handle = files.open(RECORD)
    if handle is None:
        raise NotFound("not a fibstream dataset: it has no " + RECORD)
    with contextlib.closing(handle):
        return _decoded(handle), handle.generation


def _decoded(handle: Handle) -> Dataset:
    if handle.size > MAX_RECORD:
        raise Damaged(f"{RECORD}: {handle.size} bytes; at most {MAX_RECORD} are read")
    try:
        return Dataset.model_validate_json(handle.read(0, handle.size))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "it"
        raise Damaged(f"{RECORD}: {cut(field)}: {cut(first['msg'], 200)}") from None


class RecordWatch:
    """Whether the pipeline of a dataset is still that of ``dataset``, as its reader took it.

    Only a record that was put again is read; sealing puts it too, and changes no pipeline.
    """

    def __init__(self, files: Files, dataset: Dataset) -> None:
        self._files = files
        self._dataset = dataset
        self._generation: Generation | None = None
        self._changed = False

    def changed(self) -> bool:
        """Look at the record; raise NotFound when the dataset was deleted."""
        handle = self._files.open(RECORD)
        if handle is None:
            raise NotFound("not a fibstream dataset: it has no " + RECORD)
        with contextlib.closing(handle):
            if handle.generation != self._generation:
                record = _decoded(handle)
                self._generation = handle.generation
                self._changed = not record.has_pipeline_of(self._dataset)
        return self._changed
