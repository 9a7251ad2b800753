"""Datasets on the wire are those that were requested."""

from typing import Any

import pytest

from fibstream.app.design import design_request
from fibstream.app.pipelines import requested_pipeline
from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.errors import WrongUse
from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import check_request
from fibstream.services.ingest.edges.messages import (
    dataset_request,
    dataset_response,
    dataset_spec,
)
from fibstream.store.gate import FREE

DATASET = Dataset(
    name="cell", shape=(None, 40, 50), chunk=(16, 16, 16), dtype="int16",
    voxel_size_nm=(10, 10, 10), contrast=(3, 9),
)  # fmt: skip


@pytest.mark.parametrize("value", [None, 0.0, -32768.0])
def test_zero_is_a_declared_value_and_none_is_not(value: float | None) -> None:
    dataset = DATASET.model_copy(update={"absent_value": value})
    assert dataset_request(dataset_spec(dataset)).absent_value == value


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("offset_nm", (0.0, 0.0, 2e12), "offset_nm 0,0,2e.12 nm: expected at most 1e.12 nm"),
        ("offset_nm", (0.0, float("nan"), 0.0), "offset_nm 0,nan,0 nm: expected at most"),
        ("downsample", (2, 2, 17), "downsample .2, 2, 17.: expected 1 to 16 voxels an axis"),
        ("downsample", (0, 2, 2), "downsample .0, 2, 2.: expected 1 to 16 voxels an axis"),
    ],
)
def test_a_place_or_a_mean_that_cannot_be_is_refused(field: str, value: Any, said: str) -> None:
    request = dataset_request(dataset_spec(DATASET.model_copy(update={field: value})))
    assert repr(getattr(request, field)) == repr(value)
    with pytest.raises(WrongUse, match=said):
        check_request(request)


def test_a_client_that_says_nothing_of_place_and_mean_has_the_origin() -> None:
    spec = dataset_spec(DATASET)
    spec.ClearField("offset_nm")
    spec.ClearField("downsample")
    request = dataset_request(spec)
    assert (request.offset_nm, request.downsample) == ((0, 0, 0), (1, 1, 1))


def test_a_request_with_a_value_that_no_voxel_can_have_is_refused(tmp_path: object) -> None:
    dataset = DATASET.model_copy(update={"absent_value": 40_000.0})
    with pytest.raises(WrongUse, match="absent value 40000: expected one that voxels of int16"):
        design_request(dataset_request(dataset_spec(dataset)), Root(str(tmp_path)), 1, FREE)


def test_a_record_of_before_reads_as_undeclared() -> None:
    record = DATASET.model_dump(mode="json")
    del record["absent_value"], record["offset_nm"], record["downsample"]
    assert Dataset.model_validate(record) == DATASET


def test_a_landed_probability_is_no_distance_to_a_client() -> None:
    given = (
        Prediction(name="p", is_distance=False), Prediction(name="d", squash_nm=30),
        Prediction(name="m", squash_nm=20, made_of="mask"), Prediction(name="l", made_of="labels"),
    )  # fmt: skip
    dataset = DATASET.model_copy(update={"predictions": given})
    answer = dataset_response(dataset, set())
    assert [(p.name, p.squash_nm, p.made_of) for p in answer.predictions] == [
        ("p", 0, ""), ("d", 30, ""), ("m", 20, "mask"), ("l", 50, "labels"),
    ]  # fmt: skip
    entries = requested_pipeline(dataset_spec(dataset).pipeline).predictions
    assert [(e.name, e.length_nm, e.made_of) for e in entries] == [
        (p.name, p.length_nm, p.made_of) for p in given
    ]
