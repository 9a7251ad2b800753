"""The gRPC servicer of registration: what registrations a dataset has, and their transforms."""

import math
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.v1 import chunk_pb2
from fibstream.v1 import registration_pb2 as pb
from fibstream.v1.registration_pb2_grpc import RegistrationServiceServicer

from .edges.stored import Stored, Transforms, find, look, names_of
from .port import MAX_NM
from .sampling import Floats

MAX_POINTS = 100_000  # of a call: 3 MB, and a second of the exact inverse
WAIT_S = 0.25  # between two checks of a watching stream whether its client is still there
LOOK_S = 1.0  # between two looks at the store: a request to an object store


class RegistrationServicer(RegistrationServiceServicer):
    """Answers for all datasets below a root."""

    def __init__(self, root: Root, settings: Settings) -> None:
        self._root = root
        self._transforms = Transforms()
        self._closed = threading.Event()

    def close(self) -> None:
        """End the streams that watch."""
        self._closed.set()

    def ListRegistrations(
        self, request: pb.ListRegistrationsRequest, context: grpc.ServicerContext
    ) -> pb.ListRegistrationsResponse:
        """Return every registration of a dataset."""
        self._root.dataset(request.dataset)  # NotFound where there is none
        files = self._root.files(request.dataset)
        found = (look(files, name) for name in names_of(files))
        return pb.ListRegistrationsResponse(
            registrations=[_message(each) for each in found if each is not None]
        )

    def GetRegistration(
        self, request: pb.GetRegistrationRequest, context: grpc.ServicerContext
    ) -> pb.GetRegistrationResponse:
        """Return one registration."""
        self._root.dataset(request.dataset)
        found = find(self._root.files(request.dataset), request.dataset, request.name)
        return pb.GetRegistrationResponse(registration=_message(found))

    def WatchRegistration(
        self, request: pb.WatchRegistrationRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchRegistrationResponse]:
        """Stream one registration, then each that replaces it, until the client is gone."""
        sent, looked = None, -LOOK_S
        while context.is_active() and not self._closed.is_set():
            if time.monotonic() - looked >= LOOK_S:
                self._root.dataset(request.dataset)  # NotFound when it was deleted
                found = look(self._root.files(request.dataset), request.name)
                looked = time.monotonic()
                if found is not None and found.text != sent:
                    sent = found.text
                    yield pb.WatchRegistrationResponse(registration=_message(found))
            self._closed.wait(WAIT_S)

    def Transform(
        self, request: pb.TransformRequest, context: grpc.ServicerContext
    ) -> pb.TransformResponse:
        """Return where points lie in the other image."""
        if request.direction not in (pb.DIRECTION_TO_LIGHT, pb.DIRECTION_TO_SPECIMEN):
            raise WrongUse("direction: expected DIRECTION_TO_LIGHT or DIRECTION_TO_SPECIMEN")
        points = _points(request)
        self._root.dataset(request.dataset)
        files = self._root.files(request.dataset)
        found = find(files, request.dataset, request.name)
        transform = self._transforms.of(files, request.dataset, found)
        to_light = request.direction == pb.DIRECTION_TO_LIGHT
        moved = transform.to_light(points) if to_light else transform.to_specimen(points)
        return pb.TransformResponse(points=map(_moved, moved.tolist()))


def _points(request: pb.TransformRequest) -> Floats:
    """Return the points of a request, (n, 3) nm; raise for too many, or for one that is none."""
    if len(request.points) > MAX_POINTS:
        raise LimitExceeded(f"{len(request.points)} points: at most {MAX_POINTS} in a call")
    found = np.array([(p.z, p.y, p.x) for p in request.points], np.float64).reshape(-1, 3)
    wrong = np.flatnonzero(~(np.abs(found) <= MAX_NM).all(axis=1))  # also NaN
    if len(wrong):
        at = int(wrong[0])
        raise WrongUse(
            f"points[{at}] {echo(tuple(found[at].tolist()))}: expected nm within a metre"
        )
    return found


def _moved(place: list[float]) -> pb.TransformedPoint:
    z, y, x = place
    if math.isnan(z):  # beyond the domain
        return pb.TransformedPoint()
    return pb.TransformedPoint(point=chunk_pb2.Nanometres3(z=z, y=y, x=x))


def _message(found: Stored) -> pb.Registration:
    judgement = found.report["judgement"]
    return pb.Registration(
        name=found.name, status=judgement["status"], reasons=judgement["reasons"],
        error_nm=judgement["error_nm"], report=found.text,
    )  # fmt: skip
