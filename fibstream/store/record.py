"""The record of a dataset, read from its store."""

import contextlib

from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import NotFound
from fibstream.core.ports import Files, Generation


def read_dataset(files: Files) -> Dataset:
    """Read the dataset record."""
    return read_generation(files)[0]


def read_generation(files: Files) -> tuple[Dataset, Generation]:
    """Read the dataset record, and the generation by which it is replaced."""
    handle = files.open(RECORD)
    if handle is None:
        raise NotFound("not a fibstream dataset: it has no " + RECORD)
    with contextlib.closing(handle):
        record = Dataset.model_validate_json(handle.read(0, handle.size))
        return record, handle.generation


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
                record = Dataset.model_validate_json(handle.read(0, handle.size))
                self._generation = handle.generation
                self._changed = not record.has_pipeline_of(self._dataset)
        return self._changed
