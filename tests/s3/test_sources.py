"""Volumes in a bucket that a client names: below an allowed prefix, and nowhere else."""

import numpy as np
import pytest
import tensorstore

from fibstream.core.dataset import Dataset
from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.stage import RAW, Input
from fibstream.services.ingest.edges.announced import AnnouncedVolumes
from fibstream.store.remote import kvstore

from ..support.s3 import BUCKET, Moto

SHAPE = (8, 8, 8)
VOXELS = np.random.default_rng(1).integers(1, 255, SHAPE).astype(np.uint8)
CELL = Dataset(
    name="cell", shape=SHAPE, chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
)  # fmt: skip


def put(place: str) -> None:
    spec = {
        "driver": "zarr3", "kvstore": kvstore(f"s3://{BUCKET}/{place}"),
        "metadata": {"shape": SHAPE, "data_type": "uint8"},
    }  # fmt: skip
    tensorstore.open(spec, create=True).result()[...] = VOXELS


def read(root: str, source: str) -> bool:
    found = AnnouncedVolumes([root]).read(source, CELL, Input(RAW, RAW, "uint8"), (0, 0, 0))
    return bool(np.array_equal(found, VOXELS))


def test_a_volume_below_the_prefix_is_read_and_no_other_is_asked_for(s3: Moto) -> None:
    for place in ("ok/cell.zarr/raw", "okay/cell.zarr", "secret/cell.zarr"):
        put(place)
    for source in ("ok/cell.zarr/raw", "ok/cell.zarr#raw", "ok/cell.zarr/raw/"):
        assert read(f"s3://{BUCKET}/ok", f"s3://{BUCKET}/{source}")
        assert read(f"s3://{BUCKET}", f"S3://{BUCKET}/{source}")
    s3.seen.clear()
    for source in (
        f"s3://{BUCKET}/okay/cell.zarr", f"s3://{BUCKET}/secret/cell.zarr", "s3://elsewhere/ok/x",
        f"s3://{BUCKET}/ok/../secret/cell.zarr", f"s3://{BUCKET}/ok/%2e%2e/secret/cell.zarr",
        f"s3://{BUCKET}/ok#../secret/cell.zarr", f"gs://{BUCKET}/ok/cell.zarr", f"s3://{BUCKET}",
        f"http://{BUCKET}/ok/cell.zarr", f"s3://x@{BUCKET}/ok/cell.zarr",
    ):  # fmt: skip
        with pytest.raises(WrongUse, match=r"^source "):
            read(f"s3://{BUCKET}/ok", source)
    assert s3.seen == []


def test_groups_above_the_prefix_are_not_asked_for(s3: Moto) -> None:
    put("a/ok/cell.zarr/raw")
    s3.seen.clear()
    assert read(f"s3://{BUCKET}/a/ok/cell.zarr/raw", f"s3://{BUCKET}/a/ok/cell.zarr/raw")
    asked = {request.path for request in s3.seen if request.method == "GET"}
    asked = {path for path in asked if path.strip("/") != BUCKET}  # lists of names
    assert asked
    assert all(path.startswith(f"/{BUCKET}/a/ok/cell.zarr/raw/") for path in asked), asked


def test_a_bucket_that_is_away_is_told_from_a_damaged_volume(
    s3: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WrongUse, match="there is no Zarr or N5"):
        read(f"s3://{BUCKET}/ok", f"s3://{BUCKET}/ok/nothing")
    quick = {"max_retries": 1, "initial_delay": "10ms", "max_delay": "20ms"}
    monkeypatch.setattr("fibstream.store.remote.RETRIES", quick)
    s3.before = lambda request: "503 Service Unavailable"
    with pytest.raises(Retryable):
        read(f"s3://{BUCKET}/ok", f"s3://{BUCKET}/ok/cell.zarr")
