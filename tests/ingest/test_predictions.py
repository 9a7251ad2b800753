"""What a client lands beside raw: a prediction of the dataset, by its name, by the rules of raw."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Model, Prediction
from fibstream.core.errors import WrongState, WrongUse
from fibstream.core.keys import content_hash
from fibstream.core.stage import RAW, Output
from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.ingest.servicer import IngestServicer
from fibstream.store.shard import Stamp
from fibstream.store.store import Blob
from fibstream.v1 import ingest_pb2 as pb

ER = Prediction(name="er", squash_nm=30)
NET = Model(name="net", classes=("mito",), sha256="0", spec={}, profile={})
DATASET = Dataset(
    name="cell", shape=(None, 8, 8), chunk=(8, 8, 8), dtype="uint16", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255), models=(NET,),
    predictions=(Prediction(name="mito", model="net", channel="mito"), ER),
)  # fmt: skip
FIRST = (0, 0, 0)
BYTES = np.random.default_rng(1).integers(0, 255, (8, 8, 8), np.uint8)


class Active:
    """The context of a call whose client is there."""

    def is_active(self) -> bool:
        return True

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


CONTEXT: Any = Active()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with closing(Root(str(tmp_path / "root"))) as made:
        create(made, DatasetDesign(DATASET, {}, []))
        yield made


@pytest.fixture
def servicer(root: Root, tmp_path: Path) -> IngestServicer:
    design: Any = None
    return IngestServicer(root, design, [tmp_path])


def put(
    servicer: IngestServicer, voxels: NDArray[Any], prediction: str = "er", z: int = 0
) -> pb.PutChunkResponse:
    header = pb.ChunkHeader(
        dataset="cell", index={"z": z}, size=voxels.nbytes, prediction=prediction
    )
    parts = [pb.PutChunkRequest(header=header), pb.PutChunkRequest(piece=voxels.tobytes())]
    return servicer.PutChunk(iter(parts), CONTEXT)


def get(servicer: IngestServicer, prediction: str) -> pb.GetChunkResponse:
    request = pb.GetChunkRequest(dataset="cell", index={"z": 0}, prediction=prediction)
    return servicer.GetChunk(request, CONTEXT)


def test_a_prediction_lands_under_its_own_stage_and_leaves_raw_alone(
    root: Root, servicer: IngestServicer
) -> None:
    for voxels, revision, landing in (
        (BYTES, 1, "WRITTEN"), (BYTES, 1, "UNCHANGED"), (BYTES[::-1], 2, "WRITTEN"),
    ):  # fmt: skip
        answer = put(servicer, voxels)
        assert (answer.revision, pb.Landing.Name(answer.landing)) == (
            revision,
            f"LANDING_{landing}",
        )
        found = get(servicer, "er")
        assert (found.revision, found.hash, found.intact) == (revision, content_hash(voxels), True)
    assert get(servicer, "").revision == 0
    with root.open("cell") as (_, site):
        stamp = site.store.intact(Blob(ER.path, FIRST, "uint8"))
        assert stamp is not None and stamp.stage == "stored/er"
        assert site.store.stamp(Blob(RAW, FIRST, "uint16")) is None


@pytest.mark.parametrize("name", ["mito", "ER", "other", "predictions/er", "x" * 500])
def test_only_what_no_network_makes_lands(servicer: IngestServicer, name: str) -> None:
    for call in (lambda: put(servicer, BYTES, name), lambda: get(servicer, name)):
        with pytest.raises(WrongUse, match="does not land here; what does is er") as caught:
            call()
        assert len(str(caught.value)) < 200


def test_the_bytes_of_a_prediction_are_counted_by_its_own_type(servicer: IngestServicer) -> None:
    with pytest.raises(WrongUse, match=r"1024 bytes; expected 512: .* voxels of uint8"):
        put(servicer, BYTES.astype(np.uint16))
    with pytest.raises(WrongUse, match=r"512 bytes; expected 1024: .* voxels of uint16"):
        put(servicer, BYTES, "")


def test_a_client_reads_which_predictions_land(servicer: IngestServicer) -> None:
    answer = servicer.GetDataset(pb.GetDatasetRequest(dataset="cell"), CONTEXT)
    assert [(p.name, p.squash_nm) for p in answer.predictions] == [("er", 30)]


def test_the_end_is_behind_all_that_has_landed(servicer: IngestServicer) -> None:
    put(servicer, BYTES)
    put(servicer, BYTES, z=1)
    put(servicer, BYTES.astype(np.uint16), "")
    with pytest.raises(WrongUse, match="extent of 8 slices: chunks have landed up to slice 16"):
        servicer.SealDataset(pb.SealDatasetRequest(dataset="cell", extent_z=8), CONTEXT)
    assert servicer.SealDataset(pb.SealDatasetRequest(dataset="cell"), CONTEXT).extent_z == 16


def announced(servicer: IngestServicer, path: str, prediction: str = "er") -> int:
    request = pb.AnnounceChunkRequest(
        dataset="cell", index={"z": 0}, source=path, prediction=prediction
    )
    return int(servicer.AnnounceChunk(request, CONTEXT).revision)


def saved(path: Path, voxels: NDArray[Any], **attributes: object) -> str:
    """Write a Zarr array with a voxel size and more attributes."""
    import zarr

    array: Any = zarr.create_array(path, data=voxels, chunks=voxels.shape)
    array.attrs["transform"] = {"axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": [8, 8, 8],
                                "translate": [0, 0, 0]}  # fmt: skip
    array.attrs.update(attributes)
    return str(path)


def test_a_server_reads_a_prediction_itself_if_its_bytes_are_of_the_same_squash(
    servicer: IngestServicer, tmp_path: Path
) -> None:
    with pytest.raises(WrongState, match=r"predictions/er chunk .0, 0, 0.: not in the store"):
        announced(servicer, "")
    right, wrong = (saved(tmp_path / f"{n}.zarr", BYTES, squash_nm=n) for n in (30, 40))
    unknown = saved(tmp_path / "none.zarr", BYTES)
    probable = saved(tmp_path / "probable.zarr", BYTES, meaning="probability")
    told = ("the squash length 40 nm", "the squash length 50 nm", "a probability")
    for path, found in zip((wrong, unknown, probable), told, strict=True):
        reason = f"er: .* has {found}; expected the squash length 30 nm"
        with pytest.raises(WrongUse, match=reason):
            announced(servicer, path)
    assert get(servicer, "er").revision == 0
    assert announced(servicer, right) == 1
    assert get(servicer, "er").hash == content_hash(BYTES)
    assert announced(servicer, "") == 1


def test_what_a_network_predicted_before_is_not_announced_as_landed(
    root: Root, servicer: IngestServicer
) -> None:
    with root.open("cell") as (_, site):
        stamp = Stamp("prediction/net", FIRST, "key", "")
        ((blob, data, _),) = site.store.encode(Output(ER.path, "uint8"), BYTES, stamp)
        site.store.files.put(blob.path, data)
    with pytest.raises(WrongState, match="predictions/er chunk"):
        announced(servicer, "")
    assert put(servicer, BYTES).revision == 1
    assert announced(servicer, "") == 1
