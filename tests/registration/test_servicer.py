"""RegistrationService: reports and transforms of the store, and what strangers may not ask."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fibstream import registry
from fibstream.client import Client
from fibstream.core.arrays import encode_arrays
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.keys import canonical, digest
from fibstream.core.subject import WHOLE
from fibstream.runtime.grpc import GrpcServer
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.services.registration import servicer as servicer_file
from fibstream.services.registration.answer import Answer, none_yet, to_arrays
from fibstream.services.registration.edges.files import write_transform
from fibstream.services.registration.port import Judgement, Registration
from fibstream.services.registration.transform import Transform
from fibstream.store.shard import Stamp, encode_blob
from fibstream.v1 import chunk_pb2
from fibstream.v1 import registration_pb2 as pb
from fibstream.v1.registration_pb2_grpc import RegistrationServiceStub

from ..support.patience import PATIENCE_S
from .test_transform import inside, made

RNG = np.random.default_rng(4)
CELL = Dataset(
    name="cell", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255),
)  # fmt: skip


def put(folder: Path, name: str, transform: Transform | None, status: str, **more: Any) -> None:
    place = folder / "cell.zarr/registration" / name
    place.mkdir(parents=True, exist_ok=True)
    if transform is not None:
        write_transform(place / "transform.h5", transform)
    judgement = {"status": status, "reasons": ["why"], "error_nm": 84.5} | more
    (place / "report.json").write_text(json.dumps({"name": name, "judgement": judgement}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = Root(str(tmp_path))
    root.make("cell")
    root.files("cell").put(RECORD, canonical(CELL.model_dump(mode="json")))
    root.enter("cell")
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    root = Root(str(folder))
    context = ServicerContext(root, Settings.model_validate({}))
    binding = registry.service("registration").servicer(context)
    server = GrpcServer("127.0.0.1:0", [binding])
    server.open()
    yield f"127.0.0.1:{server.port}"
    getattr(binding.servicer, "close")()  # noqa: B009
    server.close(grace_s=0)
    root.close()


@pytest.fixture
def stub(address: str) -> Iterator[RegistrationServiceStub]:
    with grpc.insecure_channel(address) as channel:
        yield RegistrationServiceStub(channel)


def test_points_are_sent_both_ways_by_the_stored_transform(folder: Path, address: str) -> None:
    transform = made(1)
    put(folder, "sim", transform, "registered")
    points = np.concatenate([inside(transform, RNG, 50), [[1e8, 0.0, 0.0]]])
    with Client(f"registration={address}") as client:
        there = client.transform("cell", "sim", points)
        back = client.transform("cell", "sim", there[:-1], to_specimen=True)
        assert client.registrations("cell")["sim"]["judgement"]["status"] == "registered"
    assert np.array_equal(there, transform.to_light(points), equal_nan=True)
    assert np.isnan(there[-1]).all() and np.isfinite(there[:-1]).all()
    assert np.array_equal(back, transform.to_specimen(there[:-1]), equal_nan=True)


def test_a_transform_that_is_replaced_is_read_again(
    folder: Path, stub: RegistrationServiceStub
) -> None:
    at = chunk_pb2.Nanometres3(z=1.0, y=2.0, x=3.0)
    asked = pb.TransformRequest(
        dataset="cell", name="sim", direction=pb.DIRECTION_TO_LIGHT, points=[at]
    )
    for number, error in ((2.0, 80.0), (3.0, 70.0)):
        transform = Transform(np.eye(3) * number, np.zeros(3))
        put(folder, "sim", transform, "check", error_nm=error)
        (found,) = stub.Transform(asked, timeout=PATIENCE_S).points
        assert (found.point.z, found.point.y, found.point.x) == (number, 2 * number, 3 * number)


def test_what_a_stage_found_is_told_before_what_the_command_wrote(
    folder: Path, stub: RegistrationServiceStub
) -> None:
    put(folder, "sim", None, "unregistered")
    judgement = Judgement("check", ("why",), 0.5, 0.1, 0.6, 70, 81.5, 0.0)
    transform = Transform(np.eye(3) * 2, np.zeros(3))
    found = Registration(transform, judgement, transform, np.zeros((1, 3)), np.zeros((1, 3)))
    for name, answer in (("sim", Answer(judgement, found, 0.5)), ("er", none_yet("wait", 0.1))):
        body = encode_arrays(to_arrays(answer))
        stamp = Stamp(f"registration/{name}", WHOLE, "key", digest(body))
        path = f"summaries/registration/{name}"
        Root(str(folder)).files("cell").put(path, encode_blob(body, stamp))
    listed = stub.ListRegistrations(pb.ListRegistrationsRequest(dataset="cell"), timeout=PATIENCE_S)
    assert [(r.name, r.status, list(r.reasons)) for r in listed.registrations] == [
        ("er", "unregistered", ["wait"]), ("sim", "check", ["why"]),
    ]  # fmt: skip
    assert listed.registrations[1].error_nm == 81.5
    assert json.loads(listed.registrations[1].report)["landed"] == 0.5
    at = chunk_pb2.Nanometres3(z=1.0, y=2.0, x=3.0)
    asked = pb.TransformRequest(
        dataset="cell", name="sim", direction=pb.DIRECTION_TO_LIGHT, points=[at]
    )
    (moved,) = stub.Transform(asked, timeout=PATIENCE_S).points
    assert (moved.point.z, moved.point.y, moved.point.x) == (2.0, 4.0, 6.0)
    asked.name = "er"
    with pytest.raises(grpc.RpcError, match="is unregistered, and has no transform"):
        stub.Transform(asked, timeout=PATIENCE_S)
    Root(str(folder)).files("cell").put("summaries/registration/er", b"no answer")
    with pytest.raises(grpc.RpcError, match="damaged; expected what a stage"):
        stub.GetRegistration(
            pb.GetRegistrationRequest(dataset="cell", name="er"), timeout=PATIENCE_S
        )


def test_reports_are_listed_and_got(folder: Path, stub: RegistrationServiceStub) -> None:
    put(folder, "sim", None, "registered")
    put(folder, "er", None, "unregistered", error_nm=None)
    (folder / "cell.zarr/registration/zarr.json").write_text("{}")
    listed = stub.ListRegistrations(pb.ListRegistrationsRequest(dataset="cell"), timeout=PATIENCE_S)
    assert [(r.name, r.status) for r in listed.registrations] == [
        ("er", "unregistered"), ("sim", "registered"),
    ]  # fmt: skip
    got = stub.GetRegistration(
        pb.GetRegistrationRequest(dataset="cell", name="sim"), timeout=PATIENCE_S
    )
    assert got.registration == listed.registrations[1]
    assert got.registration.error_nm == 84.5
    assert not listed.registrations[0].HasField("error_nm")


def test_pages_hold_every_registration_once_and_damaged_ones_with_the_reason(
    folder: Path, stub: RegistrationServiceStub, address: str
) -> None:
    for number in range(7):
        put(folder, f"sim{number}", None, "check", error_nm=number)
    for name, text in (("sim2", "{"), ("sim5", '{"judgement": 3}')):
        (folder / f"cell.zarr/registration/{name}/report.json").write_text(text)
    found, damaged, token = [], [], ""
    for page in range(4):
        asked = pb.ListRegistrationsRequest(dataset="cell", page_size=2, page_token=token)
        answer = stub.ListRegistrations(asked, timeout=10)
        assert len(answer.registrations) + len(answer.damaged) == 2
        found += [(r.name, r.error_nm) for r in answer.registrations]
        damaged += [r.name for r in answer.damaged]
        assert all("no report of a registration" in r.reason for r in answer.damaged)
        token = answer.next_page_token
        assert bool(token) == (page < 3)
        if page == 1:  # what is written while pages are read is on one of them, or on none
            put(folder, "a", None, "check")
            put(folder, "sim4a", None, "check", error_nm=4.5)
            (folder / "cell.zarr/registration/sim3/report.json").unlink()
    assert found == [
        ("sim0", 0.0), ("sim1", 1.0), ("sim3", 3.0), ("sim4", 4.0), ("sim4a", 4.5), ("sim6", 6.0)
    ]  # fmt: skip
    assert damaged == ["sim2", "sim5"]
    with Client(f"registration={address}") as client:
        every = client.registrations("cell")
    assert list(every["sim2"]) == ["damaged"] and every["sim6"]["name"] == "sim6"
    assert sorted(every) == ["a", "sim0", "sim1", "sim2", "sim4", "sim4a", "sim5", "sim6"]


def test_a_page_of_large_reports_ends_early(folder: Path, stub: RegistrationServiceStub) -> None:
    for number in range(5):
        put(folder, f"sim{number}", None, "check", reasons=["x" * 500_000])
    names, token, pages = [], "", 0
    while token or not pages:
        asked = pb.ListRegistrationsRequest(dataset="cell", page_token=token)
        answer = stub.ListRegistrations(asked, timeout=10)
        names += [r.name for r in answer.registrations]
        token, pages = answer.next_page_token, pages + 1
    assert names == [f"sim{n}" for n in range(5)] and pages == 3


def test_a_page_that_cannot_be_is_refused(folder: Path, stub: RegistrationServiceStub) -> None:
    put(folder, "sim", None, "check")
    put(folder, "tim", None, "check")
    first = pb.ListRegistrationsRequest(dataset="cell", page_size=1)
    token = stub.ListRegistrations(first, timeout=10).next_page_token
    for more, code, says in (
        ({"page_size": 10_001}, "RESOURCE_EXHAUSTED", "page_size 10001: at most 10000"),
        ({"page_token": token[:-4]}, "INVALID_ARGUMENT", "page_token: not one that"),
        ({"dataset": "other"}, "NOT_FOUND", "not found"),
    ):
        asked = pb.ListRegistrationsRequest(**({"dataset": "cell"} | more))
        found, why = refused(stub.ListRegistrations, asked)
        assert found == code and says in why


def test_a_watch_begins_with_what_is_there_and_tells_what_replaces_it(
    folder: Path, stub: RegistrationServiceStub
) -> None:
    asked = pb.WatchRegistrationRequest(dataset="cell", name="sim")
    put(folder, "sim", None, "check")
    stream = stub.WatchRegistration(asked, timeout=PATIENCE_S)
    assert next(stream).registration.status == "check"
    put(folder, "sim", None, "registered")
    assert next(stream).registration.status == "registered"
    stream.cancel()


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.zeros(3), np.zeros((2, 6))])
def test_points_of_another_shape_are_not_read_as_others(points: Any) -> None:
    with (
        Client("registration=127.0.0.1:1") as client,
        pytest.raises(WrongUse, match=r"expected \(n, 3\)"),
    ):
        client.transform("cell", "sim", points)


@pytest.mark.parametrize(
    "wrong",
    [
        {"error_nm": "84"}, {"error_nm": 10**400}, {"error_nm": math.nan}, {"reasons": "why"},
        {"reasons": [3]}, {"reasons": ["\ud800"]}, {"status": []},
    ],
)  # fmt: skip
def test_a_report_that_no_message_can_say_is_damaged(
    wrong: dict[str, Any], folder: Path, stub: RegistrationServiceStub
) -> None:
    put(folder, "sim", None, **({"status": "registered"} | wrong))
    code, why = refused(stub.GetRegistration, pb.GetRegistrationRequest(dataset="cell", name="sim"))
    assert code == "DATA_LOSS"
    assert "no report of a registration" in why


def refused(call: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as raised:
        answer = call(request, timeout=PATIENCE_S)
        next(answer) if isinstance(answer, grpc.Call) else None
    error: Any = raised.value
    return error.code().name, error.details()


def test_what_cannot_be_answered_is_one_line(folder: Path, stub: RegistrationServiceStub) -> None:
    put(folder, "sim", made(1), "registered")
    put(folder, "off", None, "unregistered")
    put(folder, "gone", None, "registered")
    put(folder, "odd", None, "registered")
    (folder / "cell.zarr/registration/odd/transform.h5").write_bytes(b"no HDF5")
    (folder / "cell.zarr/registration/torn").mkdir()
    (folder / "cell.zarr/registration/torn/report.json").write_text('{"judgement": 3}')
    good: dict[str, Any] = {"dataset": "cell", "name": "sim", "direction": pb.DIRECTION_TO_LIGHT}

    def transform(points: Any = (), **more: Any) -> tuple[str, str]:
        return refused(stub.Transform, pb.TransformRequest(**(good | more), points=points))

    def at(value: float) -> list[chunk_pb2.Nanometres3]:
        return [chunk_pb2.Nanometres3(), chunk_pb2.Nanometres3(y=value)]

    assert transform(name="none") == (
        "NOT_FOUND", "registration 'none': cell has gone, odd, off, sim, torn"
    )  # fmt: skip
    assert transform(name="../cell")[0] == "INVALID_ARGUMENT"
    assert transform(dataset="other")[0] == "NOT_FOUND"
    assert transform(name="off")[0] == "FAILED_PRECONDITION"
    assert transform(name="gone")[0] == transform(name="odd")[0] == "DATA_LOSS"
    assert transform(name="torn")[0] == "DATA_LOSS"
    assert transform(direction=0)[1].startswith("direction: expected DIRECTION_TO_LIGHT")
    assert transform(direction=7)[0] == "INVALID_ARGUMENT"
    for value in (math.nan, math.inf, -2e9):
        code, why = transform(at(value))
        assert (code, why[:10]) == ("INVALID_ARGUMENT", "points[1] ")
    too_many = [chunk_pb2.Nanometres3()] * (servicer_file.MAX_POINTS + 1)
    assert transform(too_many) == ("RESOURCE_EXHAUSTED", "100001 points: at most 100000 in a call")
    assert stub.Transform(pb.TransformRequest(**good), timeout=PATIENCE_S) == pb.TransformResponse()
    asked = pb.WatchRegistrationRequest(dataset="other", name="sim")
    assert refused(stub.WatchRegistration, asked)[0] == "NOT_FOUND"
