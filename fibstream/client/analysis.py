"""Calls of analysis."""

from collections.abc import Iterator
from typing import Any

from fibstream.v1 import analysis_pb2, analysis_pb2_grpc

from .connection import Connection, named_errors


class AnalysisCalls(Connection):
    """What analysis answers."""

    @property
    def _analysis(self) -> Any:
        return analysis_pb2_grpc.AnalysisServiceStub(self._channel("analysis"))

    def query(self, dataset: str, sql: str) -> Any:
        """Return the answer to one SELECT over the tables of a dataset, as a pyarrow Table."""
        import pyarrow as pa

        request = analysis_pb2.QueryObjectsRequest(dataset=dataset, sql=sql)
        answer = self._call(self._analysis.QueryObjects, request)
        return pa.ipc.open_stream(answer.rows).read_all()

    def stream_objects(
        self, dataset: str, table: str, *, columns: str = "", filter: str = "",
        order_by: str = "", limit: int = 0,
    ) -> Iterator[Any]:  # fmt: skip
        """Yield rows of one table, such as ``mito`` or ``contacts/er--mito``, as record batches.

        All are of the table as it is now, first by ``order_by``, then by id.  ``columns`` and
        ``order_by`` are such as ``"id, volume_nm3"`` and ``"volume_nm3 DESC"``, ``filter`` one
        condition in SQL; ``limit`` 0 means all rows.
        """
        request = analysis_pb2.StreamObjectsRequest(
            dataset=dataset, table=table, columns=columns, filter=filter, order_by=order_by,
            limit=limit,
        )  # fmt: skip
        yield from _batches(self._analysis.StreamObjects(request))

    def contact_matrix(self, dataset: str, contacts: str = "") -> Any:
        """Return what is in contact with what, as a pyarrow Table.

        A row for each name of ``contacts:`` of the pipeline; with such a name, such as
        ``er--mito``, one for each pair of objects.
        """
        import pyarrow as pa

        request = analysis_pb2.ContactMatrixRequest(dataset=dataset, contacts=contacts)
        answers = self._analysis.ContactMatrix(request, timeout=self._timeout_s)
        with named_errors():
            stream = b"".join(answer.rows for answer in answers)
        return pa.ipc.open_stream(stream).read_all()

    def describe(self, dataset: str) -> list[Any]:
        """Return the tables of a dataset with their columns, as messages."""
        request = analysis_pb2.DescribeRequest(dataset=dataset)
        return list(self._call(self._analysis.Describe, request).tables)


def _batches(call: Any) -> Iterator[Any]:
    """Yield the rows of a stream as they come; who stops early ends the call.

    Of no rows there is a batch without any, since it has the columns.
    """
    import pyarrow as pa

    try:
        with named_errors():
            schema = pa.ipc.read_schema(pa.py_buffer(next(call).rows))
            some = False
            for answer in call:
                try:
                    message = pa.ipc.read_message(answer.rows)
                except EOFError:  # the message that ends the stream
                    continue
                some = True
                yield pa.ipc.read_record_batch(message, schema)
            if not some:
                yield pa.RecordBatch.from_pylist([], schema)
    finally:
        call.cancel()
