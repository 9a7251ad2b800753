"""The gRPC servicer of analysis: the tables of a dataset, and queries of them."""

from collections.abc import Iterator, Mapping

import grpc
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream import registry
from fibstream.bus import wire
from fibstream.bus.reading import events_of
from fibstream.core.dataset import Dataset
from fibstream.core.echo import echo, listed
from fibstream.core.errors import LimitExceeded, NotFound, WrongState, WrongUse
from fibstream.core.events import Progress, Record
from fibstream.core.keys import canonical, digest
from fibstream.core.ports import Bus, Files
from fibstream.core.rules import pipeline_rule
from fibstream.runtime.paging import MAX_PAGE, decode_token, encode_token, page_size
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.edges.shared import TableCache
from fibstream.services.analysis.edges.sql import MAX_BYTES, MAX_ROWS, Choice
from fibstream.services.analysis.edges.sql_pool import SqlPool
from fibstream.services.analysis.edges.tables import (
    OpenTable,
    Table,
    TableStage,
    named_tables,
    open_table,
    read_table,
    table_stages,
)
from fibstream.v1 import analysis_pb2 as pb
from fibstream.v1.analysis_pb2_grpc import AnalysisServiceServicer

from .arrow import messages, pieces, rows_a_piece
from .clauses import parse_columns, parse_order
from .columns import described
from .matrix import class_matrix
from .sites import pair_table
from .stages.contact_words import contacts_of

assert MAX_PAGE <= MAX_ROWS
MATRIX_ROWS = 30_000  # of a message: eight columns, of which some are names, take 2 MB


class AnalysisServicer(AnalysisServiceServicer):
    """Answers for all datasets below a root."""

    def __init__(self, root: Root, settings: Settings) -> None:
        self._root = root
        self._pool = SqlPool()
        self._cache = TableCache()

    def close(self) -> None:
        """End the processes that run queries; they also end with this one."""
        self._pool.close()

    def Describe(
        self, request: pb.DescribeRequest, context: grpc.ServicerContext
    ) -> pb.DescribeResponse:
        """Return the tables of a dataset and their columns."""
        with self._root.open(request.dataset) as (dataset, site):
            # The log is read first: a table that is final there must be the one that is then read.
            files = site.store.files
            stages = table_stages(dataset, files)
            final = _final(dataset, files, site.bus, stages)
            tables = [
                _described(name, read_table(dataset, files, made), final)
                for name, made in stages.items()
            ]
        quarantined = self._root.quarantined().get(request.dataset, "")
        return pb.DescribeResponse(tables=tables, quarantined=quarantined)

    def QueryObjects(
        self, request: pb.QueryObjectsRequest, context: grpc.ServicerContext
    ) -> pb.QueryObjectsResponse:
        """Answer with rows of one table, or with the rows of one SELECT over all."""
        dataset = self._root.dataset(request.dataset)
        files = self._root.files(request.dataset)
        if request.sql:
            return self._select(request, dataset, files, context)
        return self._page(request, dataset, files, context)

    def StreamObjects(
        self, request: pb.StreamObjectsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.StreamObjectsResponse]:
        """Send the rows of one table that are chosen, piece by piece.

        SQL chooses them in one go; while they are sent, no process that runs SQL is taken.
        """
        dataset, files = self._root.dataset(request.dataset), self._root.files(request.dataset)
        shared = self._open(dataset, files, "table", request.table).shared
        columns = parse_columns(request.columns, shared.rows.column_names)
        order = parse_order(request.order_by, shared.rows.column_names)
        limit = min(request.limit, shared.rows.num_rows) if request.limit else None
        choice = Choice(request.table, request.filter, order, limit=limit)
        ids = self._pool.run(choice, {request.table: shared}, context).table()
        schema = pa.schema([shared.rows.schema.field(name) for name in columns])
        parts = (shared.take(part["id"], columns) for part in pieces(ids, rows_a_piece(schema)))
        for message in messages(schema, parts):
            if not context.is_active():
                return
            yield pb.StreamObjectsResponse(rows=message)

    def ContactMatrix(
        self, request: pb.ContactMatrixRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ContactMatrixResponse]:
        """Send which organelles are in contact, or which objects of two."""
        dataset, files = self._root.dataset(request.dataset), self._root.files(request.dataset)
        named = {contact.name: contact for contact in contacts_of(dataset)}
        if request.contacts and request.contacts not in named:
            raise NotFound(f"contacts {echo(request.contacts)}: {dataset.name} has {listed(named)}")
        tables = (
            (contact, self._open(dataset, files, "contacts", contact.path).shared.rows)
            for name, contact in named.items() if request.contacts in ("", name)
        )  # fmt: skip
        found = pair_table(next(tables)[1]) if request.contacts else class_matrix(tables)
        for message in messages(found.schema, pieces(found, MATRIX_ROWS)):
            if not context.is_active():
                return
            yield pb.ContactMatrixResponse(rows=message)

    def _select(
        self, request: pb.QueryObjectsRequest, dataset: Dataset, files: Files,
        context: grpc.ServicerContext,
    ) -> pb.QueryObjectsResponse:  # fmt: skip
        for field in ("organelle", "filter", "order_by", "page_size", "page_token"):
            if getattr(request, field):
                raise WrongUse(f"{field}: not together with sql, which replaces it")
        tables = named_tables(dataset, files, request.sql, self._cache)
        reply = self._pool.run(request.sql, tables, context)
        return pb.QueryObjectsResponse(columns=reply.columns, rows=reply.rows, total=reply.total)

    def _page(
        self, request: pb.QueryObjectsRequest, dataset: Dataset, files: Files,
        context: grpc.ServicerContext,
    ) -> pb.QueryObjectsResponse:  # fmt: skip
        name = request.organelle
        table = self._open(dataset, files, "organelle", name)
        size = page_size(request.page_size)
        order = parse_order(request.order_by, table.shared.rows.column_names)
        query = digest(canonical([dataset.name, name, request.filter, order]))
        offset, version = decode_token(request.page_token, query)
        if version not in (None, table.hash):
            raise WrongState(
                "the table changed since the first page: start again without a page_token"
            )
        choice = Choice(name, request.filter, order, offset, size)
        reply = self._pool.run(choice, {name: table.shared}, context)
        rows, end = table.shared.take(reply.table()["id"]), offset + size
        if rows.nbytes > MAX_BYTES:
            raise LimitExceeded(f"page_size {size}: more than {MAX_BYTES >> 20} MB; ask for less")
        return pb.QueryObjectsResponse(
            columns=rows.column_names, rows=b"".join(messages(rows.schema, [rows])),
            next_page_token=encode_token(end, query, table.hash) if end < reply.total else "",
            total=reply.total,
        )  # fmt: skip

    def _open(self, dataset: Dataset, files: Files, field: str, name: str) -> OpenTable:
        """Return a table by its name, which is in ``field`` of the request."""
        stages = table_stages(dataset, files)
        if name not in stages:
            raise NotFound(f"{field} {echo(name)}: {dataset.name} has {listed(stages)}")
        return open_table(dataset, files, stages[name], self._cache)


def _described(name: str, table: Table, final: dict[str, str]) -> pb.Table:
    file = pq.ParquetFile(pa.BufferReader(table.data))
    columns = [pb.Column(**column._asdict()) for column in described(file.schema_arrow)]
    rows = file.metadata.num_rows
    last = bool(table.hash) and final.get(name) == table.hash
    own: Mapping[bytes, bytes] = file.schema_arrow.metadata or {}
    said = {key.decode(): value.decode() for key, value in own.items()}
    return pb.Table(
        organelle=name, rows=rows, columns=columns, final=last, hash=table.hash,
        provenance={**said, **table.made},
    )  # fmt: skip


def _final(
    dataset: Dataset, files: Files, bus: Bus, stages: Mapping[str, TableStage]
) -> dict[str, str]:
    """Return the content hash of each table that is final, by the log.

    That is so when the dataset is sealed, every planner that it needs has read the log to its end
    and has nothing left to do, and no chunk has failed.
    """
    events = events_of(bus, [wire.PROGRESS], dataset.name)
    pipeline = pipeline_rule(dataset)  # that the planner of an earlier one is done says nothing
    progress = {e.service: e for e in events if isinstance(e, Progress) and e.pipeline == pipeline}
    topics = sorted({wire.ledger_topic(made.stage.name) for made in stages.values()})
    events = events_of(bus, topics, dataset.name)
    ready = {e.stage: e for e in events if isinstance(e, Record) and e.status == "ready"}
    end = bus.end(wire.ledger_topics())  # read last: a record that came meanwhile is seen here
    needed = [progress.get(service.name) for service in registry.owners(dataset, files)]
    quiet = all(p and p.settled and p.offset >= end and not p.failed for p in needed)
    if not (dataset.grid.sealed and quiet):
        return {}
    return {
        name: ready[made.stage.name].hashes.get(made.path, "")
        for name, made in stages.items()
        if made.stage.name in ready
    }
