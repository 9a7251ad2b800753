"""A chunk that a client declares absent is so in all arrays that land, and stays failed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.events import Record
from fibstream.core.stage import RAW
from fibstream.runtime.loops import drive
from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.ingest.edges.landing import land
from fibstream.services.ingest.servicer import IngestServicer
from fibstream.store.store import Blob
from fibstream.v1 import ingest_pb2 as pb

FIRST = (0, 0, 0)
ER = Prediction(name="er")
DATASET = Dataset(
    name="cell", shape=(32, 16, 16), chunk=(16, 16, 16), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255), predictions=(ER,),
)  # fmt: skip
CONTEXT: Any = None
VOXELS = np.ones((16, 16, 16), np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with closing(Root(str(tmp_path / "root"))) as made:
        create(made, DatasetDesign(DATASET, {}, []))
        yield made


def servicer(root: Root) -> IngestServicer:
    design: Any = None
    return IngestServicer(root, design)


def stamps(root: Root) -> list[tuple[bool, int] | None]:
    """Return whether the first chunk is absent, and its revision: of raw, and of the prediction."""
    with root.open("cell") as (_, site):
        found = [site.store.intact(Blob(name, FIRST, "uint8")) for name in (RAW, ER.path)]
    return [None if stamp is None else (stamp.absent, stamp.revision) for stamp in found]


def test_what_is_absent_is_absent_in_stored_predictions_too(root: Root) -> None:
    with root.open("cell") as (_, site):
        drive(land(site, FIRST, VOXELS, "uint8", 5))
        drive(land(site, FIRST, VOXELS, "uint8", stage=ER.stage, name=ER.path))
    request = pb.DeclareAbsentRequest(dataset="cell", index={"z": 0}, revision=4)
    servicer(root).DeclareAbsent(request, CONTEXT)
    assert stamps(root) == [(False, 5), (False, 1)]  # an older landing changes nothing
    request.revision = 6
    servicer(root).DeclareAbsent(request, CONTEXT)
    assert stamps(root) == [(True, 6), (True, 2)]


def test_what_landed_damaged_cannot_be_replayed(root: Root) -> None:
    with root.open("cell") as (_, site):
        for stage in (RAW, ER.stage, "pyramid/er"):
            site.publish(Record(stage, FIRST, "failed", reason="damaged"))
    answer = servicer(root).ReplayFailed(pb.ReplayFailedRequest(dataset="cell"), CONTEXT)
    assert [failed.stage for failed in answer.replayed] == ["pyramid/er"]
