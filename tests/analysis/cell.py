"""A dataset ``cell`` whose tables and log a test writes itself, and calls that ask for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from fibstream.bus import wire
from fibstream.core.dataset import RECORD, Dataset, Organelle, Prediction
from fibstream.core.events import Progress, Record
from fibstream.core.keys import canonical, digest
from fibstream.core.rules import pipeline_rule
from fibstream.core.subject import WHOLE
from fibstream.runtime.root import Root
from fibstream.services.analysis.limbs import PRODUCT_AXES, limbs_of
from fibstream.services.analysis.servicer import AnalysisServicer
from fibstream.services.analysis.table import finish, to_parquet
from fibstream.services.analysis.totals import merge
from fibstream.store.shard import Stamp, encode_blob
from fibstream.v1 import analysis_pb2 as pb
from fibstream.v1.analysis_pb2_grpc import (
    AnalysisServiceStub,
    add_AnalysisServiceServicer_to_server,
)

from ..support import rpc

Stub = AnalysisServiceStub
COUNT = 100


@contextmanager
def serving(servicer: AnalysisServicer) -> Iterator[Stub]:
    with rpc.serving(add_AnalysisServiceServicer_to_server, servicer, Stub) as stub:
        yield stub


def rows(seed: int, count: int = COUNT) -> pa.Table:
    """Return a table of objects; few sizes, so that order needs the id as well."""
    chance = np.random.default_rng(seed)
    given = {
        "id": np.sort(chance.choice(2**63 - 1, count, replace=False)).astype(np.uint64),
        "voxels": chance.integers(1, 6, count), "low": chance.integers(0, 9, (count, 3)),
        "high": chance.integers(9, 20, (count, 3)),
        "crossings": chance.integers(1, 50, (count, 13)),
        "border_faces": chance.integers(0, 10, (count, 3)) // 8,
        "euler": chance.integers(-3, 3, (count, 2)), "levels": np.ones(count, np.int64),
        "level": chance.integers(0, 250, count),
    }  # fmt: skip
    sums = given["voxels"][:, None] * chance.integers(0, 900, (count, 3))  # of one place each
    squares = np.stack([sums[:, a] * sums[:, b] for a, b in PRODUCT_AXES], axis=1)
    products = squares // given["voxels"][:, None]
    given["wide"] = limbs_of(np.concatenate([sums, products], axis=1))
    return finish(merge([given | {"level_voxels": given["voxels"]}]), (8, 4, 4), raw=True)


class Cell:
    """A dataset ``cell`` without services: the test writes tables and the log."""

    def __init__(self, root: Root) -> None:
        self.files = root.files("cell")
        self.bus = root.bus("cell")
        self.record()

    def record(self, z: int | None = None) -> None:
        """Write the record of the dataset, sealed with ``z`` slices."""
        self.dataset = Dataset(
            name="cell", shape=(z, 8, 8), chunk=(4, 8, 8), dtype="uint8",
            voxel_size_nm=(8, 4, 4), contrast=(0, 255), predictions=(Prediction(name="mito"),),
            organelles=tuple(
                Organelle(name=name, recipe=name, inputs={"prediction": "mito"}, settings={})
                for name in ("generic", "mito")
            ),
        )  # fmt: skip
        self.files.put(RECORD, canonical(self.dataset.model_dump(mode="json")))

    def write(self, table: pa.Table, name: str = "mito") -> str:
        """Write a table as analysis does; return its content hash."""
        path, body = f"tables/{name}.parquet", to_parquet(table, {"organelle": name})
        stamp = Stamp(f"tables/{name}", WHOLE, "key", digest(body))
        self.files.put(path, encode_blob(body, stamp))
        record = Record(f"tables/{name}", WHOLE, "ready", "key", {path: stamp.hash})
        self.publish(record)
        return stamp.hash

    def publish(self, record: Record) -> None:
        key = wire.record_key("cell", record.stage, record.subject)
        self.bus.publish(wire.ledger_topic(record.stage), key, wire.encode(record))

    def report(
        self, service: str, *, offset: int | None = None, settled: bool = True, failed: int = 0
    ) -> None:
        """Publish the progress of a planner."""
        offset = self.bus.end(wire.ledger_topics()) if offset is None else offset
        pipeline = pipeline_rule(self.dataset)
        progress = Progress(service, offset, settled, 0, 1, 1, failed, pipeline)
        self.bus.publish(wire.PROGRESS, f"cell/{service}", wire.encode(progress))


def query(stub: Stub, timeout: float = 30, **given: Any) -> pb.QueryObjectsResponse:
    return stub.QueryObjects(pb.QueryObjectsRequest(dataset="cell", **given), timeout=timeout)


def table_of(answer: pb.QueryObjectsResponse) -> pa.Table:
    table = pa.ipc.open_stream(answer.rows).read_all()
    assert list(answer.columns) == table.column_names
    return table


def refused(stub: Stub, timeout: float = 30, **given: Any) -> rpc.Refusal:
    return rpc.refused(lambda: query(stub, timeout, **given))
