"""Calls of analysis."""

from typing import Any

from fibstream.v1 import analysis_pb2, analysis_pb2_grpc

from .connection import Connection


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

    def describe(self, dataset: str) -> list[Any]:
        """Return the tables of a dataset with their columns, as messages."""
        request = analysis_pb2.DescribeRequest(dataset=dataset)
        return list(self._call(self._analysis.Describe, request).tables)
