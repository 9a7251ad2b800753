"""The tables of a dataset, whichever service makes them: what may be queried."""

from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from fibstream import registry
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongState
from fibstream.core.grid import Index
from fibstream.core.ports import Files, Handle
from fibstream.core.stage import Arrays, Block, Stage
from fibstream.core.subject import WHOLE
from fibstream.store.shard import decode_blob, source_stamp

from .shared import SharedTable, TableCache

FOLDER, SUFFIX = "tables/", ".parquet"


class Table(NamedTuple):
    """One table as it is now; ``hash`` is that of its content, empty before it is made.

    ``made`` says of what: the key and the parameters of its stage, and the program's version.
    """

    data: bytes  # Parquet
    hash: str
    made: Mapping[str, str]


class OpenTable(NamedTuple):
    """One table as it is now, decoded; ``hash`` as that of `Table`."""

    shared: SharedTable
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
        return Table(_without_rows(dataset, made), "", {})
    with closing(handle):
        return _verified(handle, made)


def open_table(dataset: Dataset, files: Files, made: TableStage, cache: TableCache) -> OpenTable:
    """Return a table decoded, as `read_table` reads it: from the cache where it is in there.

    Then only the stamp at the end of its file is read, which names the content.
    """
    handle = files.open(made.path)
    if handle is None:
        return OpenTable(SharedTable(_without_rows(dataset, made)), "")
    with closing(handle):
        stamp = source_stamp(handle)
        kept = cache.find(stamp.hash) if stamp else None
        if stamp and kept:
            return OpenTable(kept, stamp.hash)
        table = _verified(handle, made)
    return OpenTable(cache.keep(table.hash, table.data), table.hash)


def named_tables(
    dataset: Dataset, files: Files, sql: str, cache: TableCache
) -> dict[str, SharedTable | None]:
    """Return all tables by name, those decoded of which the name occurs in ``sql``."""
    text = sql.casefold()
    return {
        name: open_table(dataset, files, made, cache).shared if name.casefold() in text else None
        for name, made in table_stages(dataset, files).items()
    }


def _verified(handle: Handle, made: TableStage) -> Table:
    found = decode_blob(handle.read(0, handle.size))
    if found is None:
        raise WrongState(
            f"{made.path}: damaged; analysis makes it anew when it next reconciles, or the next run"
        )
    body, stamp = found
    of = {"key": stamp.key, "parameters": stamp.parameters, "version": stamp.version}
    return Table(body, stamp.hash, {name: value for name, value in of.items() if value})


def _without_rows(dataset: Dataset, made: TableStage) -> bytes:
    nothing: dict[str, dict[Index, Arrays]] = {source.name: {} for source in made.stage.inputs}
    block = Block(WHOLE, dataset.grid.volume, {}, cells=nothing, grid=dataset.grid)
    empty = made.stage.compute(block)[made.path]
    assert isinstance(empty, bytes)
    return empty
