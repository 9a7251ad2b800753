"""What one call may ask of ingest: no dataset, chunk or answer is larger than it may be."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream.app.design import design_request
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import MAX_CHUNKS, Index
from fibstream.core.keys import canonical
from fibstream.core.stage import RAW, Output
from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.ingest.servicer import IngestServicer
from fibstream.store.gate import FREE
from fibstream.store.shard import Stamp
from fibstream.v1 import ingest_pb2 as pb


class Active:
    """The context of a call whose client is there."""

    def is_active(self) -> bool:
        return True


CONTEXT: Any = Active()
DATASET = Dataset(
    name="cell", shape=(None, 600, 600), chunk=(1, 1, 1), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
)  # fmt: skip
LAST = MAX_CHUNKS // 600**2 - 1  # layer


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with closing(Root(str(tmp_path))) as made:
        create(made, DatasetDesign(DATASET, {}, []))
        yield made


@pytest.fixture
def servicer(root: Root) -> IngestServicer:
    return IngestServicer(root, lambda request: design_request(request, root, 1, FREE))


def spec(shape: Index, chunk: Index, **others: Any) -> pb.CreateDatasetRequest:
    (z, y, x), (cz, cy, cx) = shape, chunk
    made = pb.DatasetSpec(
        name="new", shape={"z": z, "y": y, "x": x}, chunk={"z": cz, "y": cy, "x": cx},
        dtype="uint8", voxel_size_nm={"z": 8, "y": 8, "x": 8},
        pipeline="predictions: [{name: er, squash_nm: 30}]", **others,
    )  # fmt: skip
    return pb.CreateDatasetRequest(dataset=made)


@pytest.mark.parametrize(
    ("shape", "chunk", "said"),
    [
        ((2097152, 2097152, 2097152), (1, 1, 1), "no edges up to 512 would do"),
        ((0, 65536, 65536), (1, 1, 1), "in one layer .* 128,128,64 would do"),
        ((0, 4000, 6000), (1, 1, 1), ": 64,64,64 would do"),
        ((1001, 1000, 1), (1, 1, 1), ": 2,1,1 would do"),
        ((2097153, 1, 1), (512, 512, 512), "shape"),
        ((64, 64, 64), (1, 1, 513), "from 1 to 512 voxels"),
    ],
)
def test_a_dataset_of_too_many_chunks_is_refused_and_leaves_nothing(
    root: Root, servicer: IngestServicer, shape: Index, chunk: Index, said: str
) -> None:
    with pytest.raises(WrongUse, match=said) as caught:
        servicer.CreateDataset(spec(shape, chunk), CONTEXT)
    assert len(str(caught.value)) < 200
    assert root.names() == ["cell"]


def test_a_client_is_told_when_an_open_volume_has_little_room(servicer: IngestServicer) -> None:
    answer = servicer.CreateDataset(spec((0, 6000, 6000), (64, 8, 8)), CONTEXT)
    assert answer.warnings == ["chunk (64, 8, 8): the volume can grow to 64 slices, 1000000 chunks"]


def absent(servicer: IngestServicer, z: int) -> None:
    request = pb.DeclareAbsentRequest(dataset="cell", index={"z": z, "y": 599, "x": 599})
    servicer.DeclareAbsent(request, CONTEXT)


def test_an_open_volume_does_not_grow_beyond_a_million_chunks(servicer: IngestServicer) -> None:
    absent(servicer, LAST)
    for z in (LAST + 1, 2**21 - 1):
        with pytest.raises(LimitExceeded, match="beyond the last layer 1; layers of 360000"):
            absent(servicer, z)
    with pytest.raises(LimitExceeded, match="beyond the last layer"):
        servicer.SealDataset(pb.SealDatasetRequest(dataset="cell", extent_z=3), CONTEXT)
    assert servicer.SealDataset(pb.SealDatasetRequest(dataset="cell"), CONTEXT).extent_z == 2


def test_an_answer_has_a_bit_for_each_of_a_million_chunks_at_most(
    root: Root, servicer: IngestServicer
) -> None:
    """A far chunk, as a foreign hand may put one into the store, makes it no longer."""
    absent(servicer, LAST)
    with root.open("cell") as (_, site):
        for index in ((2**21 - 1, 0, 0), (999_999_999, 0, 0), (0, 600, 0)):
            ((blob, data, _),) = site.store.encode(
                Output(RAW, "uint8"), np.ones((1, 1, 1), np.uint8), Stamp(RAW, index, "", "")
            )
            site.store.files.put(blob.path, data)
    answer = servicer.GetDataset(pb.GetDatasetRequest(dataset="cell"), CONTEXT)
    assert (answer.count.z, answer.count.y, answer.count.x) == (LAST + 1, 600, 600)
    assert sum(byte.bit_count() for byte in answer.landed) == 1
    assert len(answer.landed) <= MAX_CHUNKS // 8
    assert servicer.SealDataset(pb.SealDatasetRequest(dataset="cell"), CONTEXT).extent_z == 2


def test_a_dataset_that_an_earlier_version_made_too_large_is_named_and_can_be_deleted(
    root: Root, servicer: IngestServicer
) -> None:
    large = DATASET.model_copy(update={"shape": (2**21,) * 3})
    root.files("cell").put(RECORD, canonical(large.model_dump(mode="json")))
    with pytest.raises(LimitExceeded, match="9223372036854775808 chunks"):
        servicer.GetDataset(pb.GetDatasetRequest(dataset="cell"), CONTEXT)
    servicer.DeleteDataset(pb.DeleteDatasetRequest(dataset="cell"), CONTEXT)
    assert root.names() == []
