"""The tables of a dataset, whichever service makes them: what may be queried."""

from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from fibstream import registry
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongState
from fibstream.core.grid import Index
from fibstream.core.ports import Files
from fibstream.core.stage import Arrays, Block, Stage
from fibstream.core.subject import WHOLE
from fibstream.store.shard import decode_blob

FOLDER, SUFFIX = "tables/", ".parquet"


class Table(NamedTuple):
    """One table as it is now; ``hash`` is that of its content, empty before it is made."""

    data: bytes  # Parquet
    hash: str


class TableStage(NamedTuple):
    """The stage that makes a table, and the table's path in the dataset."""

    stage: Stage
    path: str


def table_stages(dataset: Dataset, files: Files) -> Mapping[str, TableStage]:
    """Return the stage that makes each table, by its name: ``mito`` of ``tables/mito.parquet``."""
    return {
        output.name.removeprefix(FOLDER).removesuffix(SUFFIX): TableStage(stage, output.name)
        for service in registry.services()
        for stage in service.stages(dataset, files)
        for output in stage.outputs
        if output.name.startswith(FOLDER) and output.name.endswith(SUFFIX)
    }


def read_table(dataset: Dataset, files: Files, made: TableStage) -> Table:
    """Read a table; before it is made it has its columns and no rows.

    Raises WrongState for one that is damaged.
    """
    handle = files.open(made.path)
    if handle is None:
        nothing: dict[str, dict[Index, Arrays]] = {source.name: {} for source in made.stage.inputs}
        block = Block(WHOLE, dataset.grid.volume, {}, cells=nothing, grid=dataset.grid)
        empty = made.stage.compute(block)[made.path]
        assert isinstance(empty, bytes)
        return Table(empty, "")
    with closing(handle):
        found = decode_blob(handle.read(0, handle.size))
    if found is None:
        raise WrongState(
            f"{made.path}: damaged; analysis makes it anew when it next reconciles, or the next run"
        )
    body, stamp = found
    return Table(body, stamp.hash)
