"""The record of a dataset, read from its store."""

import contextlib

from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import NotFound
from fibstream.core.ports import Files


def read_dataset(files: Files) -> Dataset:
    """Read the dataset record."""
    handle = files.open(RECORD)
    if handle is None:
        raise NotFound("not a fibstream dataset: it has no " + RECORD)
    with contextlib.closing(handle):
        return Dataset.model_validate_json(handle.read(0, handle.size))
