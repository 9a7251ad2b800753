"""The gRPC servicer of analysis: the tables of a dataset, and queries of them."""

from collections.abc import Mapping

import grpc
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream import registry
from fibstream.bus import wire
from fibstream.bus.reading import events_of
from fibstream.core.dataset import Dataset
from fibstream.core.echo import echo
from fibstream.core.errors import NotFound, WrongState, WrongUse
from fibstream.core.events import Progress, Record
from fibstream.core.keys import canonical, digest
from fibstream.core.ports import Bus, Files
from fibstream.core.rules import pipeline_rule
from fibstream.runtime.paging import MAX_PAGE, decode_token, encode_token, page_size
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.edges.sql import MAX_ROWS, Page, parse_order
from fibstream.services.analysis.edges.sql_pool import Reply, SqlPool
from fibstream.services.analysis.edges.tables import Table, TableStage, read_table, table_stages
from fibstream.v1 import analysis_pb2 as pb
from fibstream.v1.analysis_pb2_grpc import AnalysisServiceServicer

from .columns import described

assert MAX_PAGE <= MAX_ROWS


class AnalysisServicer(AnalysisServiceServicer):
    """Answers for all datasets below a root."""

    def __init__(self, root: Root, settings: Settings) -> None:
        self._root = root
        self._pool = SqlPool()

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

    def _select(
        self, request: pb.QueryObjectsRequest, dataset: Dataset, files: Files,
        context: grpc.ServicerContext,
    ) -> pb.QueryObjectsResponse:  # fmt: skip
        for field in ("organelle", "filter", "order_by", "page_size", "page_token"):
            if getattr(request, field):
                raise WrongUse(f"{field}: not together with sql, which replaces it")
        stages = table_stages(dataset, files)
        tables = {name: read_table(dataset, files, made).data for name, made in stages.items()}
        return _answer(self._pool.run(request.sql, tables, context))

    def _page(
        self, request: pb.QueryObjectsRequest, dataset: Dataset, files: Files,
        context: grpc.ServicerContext,
    ) -> pb.QueryObjectsResponse:  # fmt: skip
        name, stages = request.organelle, table_stages(dataset, files)
        if name not in stages:
            known = ", ".join(stages) or "none"
            raise NotFound(f"organelle {echo(name)}: {dataset.name} has {known}")
        table = read_table(dataset, files, stages[name])
        size = page_size(request.page_size)
        columns = pq.read_schema(pa.BufferReader(table.data)).names
        order = parse_order(request.order_by, columns)
        query = digest(canonical([dataset.name, name, request.filter, order]))
        offset, version = decode_token(request.page_token, query)
        if version not in (None, table.hash):
            raise WrongState(
                "the table changed since the first page: start again without a page_token"
            )
        page = Page(name, request.filter, order, offset, size)
        reply = self._pool.run(page, {name: table.data}, context)
        end = offset + page.limit
        token = encode_token(end, query, table.hash) if end < reply.total else ""
        return _answer(reply, token)


def _answer(reply: Reply, token: str = "") -> pb.QueryObjectsResponse:
    return pb.QueryObjectsResponse(
        columns=reply.columns, rows=reply.rows, next_page_token=token, total=reply.total
    )


def _described(name: str, table: Table, final: dict[str, str]) -> pb.Table:
    file = pq.ParquetFile(pa.BufferReader(table.data))
    columns = [
        pb.Column(name=column, type=kind, meaning=meaning)
        for column, kind, meaning in described(file.schema_arrow)
    ]
    rows = file.metadata.num_rows
    last = bool(table.hash) and final.get(name) == table.hash
    return pb.Table(organelle=name, rows=rows, columns=columns, final=last)


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
