"""What a report says of a whole dataset: totals of its organelles, and their figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse

from ..charts import as_png
from ..hashes import Track
from ..kept import Kept
from ..parquet import read_parquet
from .plots import relative_volumes
from .reference import reference_of
from .totals import Row, totals


class Whole(NamedTuple):
    """Totals by organelle, and the figure of several, a PNG."""

    rows: Mapping[str, Row]
    figure: bytes


def whole(dataset: Dataset, tables: Mapping[str, Path], kept: Kept, track: Track) -> Whole | None:
    """Return totals of a finished dataset; None where organelles have cells of their own."""
    try:
        reference = reference_of(dataset, kept, track)
    except WrongUse:
        return None
    found = {name: read_parquet(path) for name, path in tables.items()}
    rows = totals(dataset.name, found, reference)
    figure = as_png(relative_volumes(rows)) if len(rows) > 1 else b""
    return Whole({row["organelle"]: row for row in rows}, figure)
