"""The gRPC servicer of registration: what registrations a dataset has, and their transforms."""

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongState, WrongUse
from fibstream.core.grid import Box
from fibstream.runtime.calls import held
from fibstream.runtime.paging import decode_token, encode_token, page_size
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.v1 import chunk_pb2
from fibstream.v1 import registration_pb2 as pb
from fibstream.v1.registration_pb2_grpc import RegistrationServiceServicer

from .boxes import checked, level_shape, slabs
from .edges.jobs import State
from .edges.listing import page_of
from .edges.requested import Requested
from .edges.stored import Stored, Transforms, find, look
from .edges.warping import Lights, Warped, warped_of
from .port import MAX_NM
from .sampling import Floats

PIECE = 2 << 20  # bytes of an answer's pieces: between 1 and 4 MB gRPC is fastest
MAX_WARPS = 2  # at a time: each has a slab in memory, and its light image
MAX_POINTS = 100_000  # of a call: 3 MB, and a second of the exact inverse
WAIT_S = 0.25  # between two checks of a watching stream whether its client is still there
LOOK_S = 1.0  # between two looks at the store: a request to an object store


class RegistrationServicer(RegistrationServiceServicer):
    """Answers for all datasets below a root."""

    def __init__(self, root: Root, settings: Settings, sources: Sequence[str] = ()) -> None:
        self._root = root
        self._transforms = Transforms()
        self._lights = Lights()
        self._warps = threading.BoundedSemaphore(MAX_WARPS)
        self._computing = threading.BoundedSemaphore(1)
        self._requested = Requested(root, sources)
        self._closed = threading.Event()

    def close(self) -> None:
        """End the streams that watch, and begin no further registration."""
        self._closed.set()
        self._requested.jobs.close()

    def Register(
        self, request: pb.RegisterRequest, context: grpc.ServicerContext
    ) -> pb.RegisterResponse:
        """Start a registration, or find the same one."""
        dataset = self._root.dataset(request.dataset)
        given: dict[str, Any] = {
            "name": request.name, "light": request.light, "from": request.prediction,
            "microscope": request.microscope or "sim",
        }  # fmt: skip
        if request.window_low or request.window_high:
            given["window"] = request.window_low, request.window_high
        if request.HasField("light_voxel_nm"):
            given["light_voxel_nm"] = wire.lengths_of(request.light_voxel_nm)
        name, started = self._requested.start(dataset, given, context, replace=request.replace)
        return pb.RegisterResponse(name=name, started=started)

    def ListRegistrations(
        self, request: pb.ListRegistrationsRequest, context: grpc.ServicerContext
    ) -> pb.ListRegistrationsResponse:
        """Return the registrations of a dataset by name, and which of them are damaged."""
        size = page_size(request.page_size)
        dataset = self._root.dataset(request.dataset)
        jobs = self._requested.jobs.of(dataset.name, dataset.incarnation)
        under_way = {state.job.where[2]: _under_way(state) for state in jobs}
        listed = f"{request.dataset}/registrations"
        before, after = decode_token(request.page_token, listed)
        files = self._root.files(request.dataset)
        page = page_of(files, after or "", size, under_way)
        count = before + len(page.found) + len(page.damaged)
        damaged = [pb.DamagedRegistration(name=n, reason=r) for n, r in page.damaged.items()]
        return pb.ListRegistrationsResponse(
            registrations=map(_message, page.found), damaged=damaged,
            next_page_token=encode_token(count, listed, page.last) if page.last else "",
        )  # fmt: skip

    def GetRegistration(
        self, request: pb.GetRegistrationRequest, context: grpc.ServicerContext
    ) -> pb.GetRegistrationResponse:
        """Return one registration."""
        found = self._seen(request.dataset, request.name)
        if found is None:  # raises, with the names of those there are
            found = find(self._root.files(request.dataset), request.dataset, request.name)
        return pb.GetRegistrationResponse(registration=_message(found))

    def _seen(self, dataset: str, name: str) -> Stored | None:
        """Return a registration that is under way, or stored; raise NotFound for the dataset."""
        incarnation = self._root.dataset(dataset).incarnation
        state = self._requested.jobs.find((dataset, incarnation, name))
        # What is no longer under way has been stored by then.
        return look(self._root.files(dataset), name) if state is None else _under_way(state)

    def WatchRegistration(
        self, request: pb.WatchRegistrationRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchRegistrationResponse]:
        """Stream one registration, then each that replaces it, until the client is gone."""
        sent, looked = None, -LOOK_S
        while context.is_active() and not self._closed.is_set():
            if time.monotonic() - looked >= LOOK_S:
                found = self._seen(request.dataset, request.name)
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

    def Warp(
        self, request: pb.WarpRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WarpResponse]:
        """Stream a box of a warped light image."""
        dataset = self._root.dataset(request.dataset)
        files = self._root.files(request.dataset)
        found = find(files, request.dataset, request.name)
        if request.version not in ("", found.version):
            raise WrongState(f"registration {found.name}: another version is there now")
        with held(self._warps, context):
            with held(self._computing, context):
                warped = warped_of(files, dataset, found, self._lights)
            box = checked(
                wire.index_of(request.origin), wire.index_of(request.shape), request.level,
                warped.shape,
            )  # fmt: skip
            yield pb.WarpResponse(header=_header(warped, box, request.level, found.version))
            parts = slabs(warped.read, warped.shape, box, request.level)
            while (slab := self._next(parts, context)) is not None:
                data = slab.astype(slab.dtype.newbyteorder("<"), copy=False).tobytes()
                for start in range(0, len(data), PIECE):
                    yield pb.WarpResponse(piece=data[start : start + PIECE])
        now = look(files, found.name)
        if now is None or now.version != found.version:
            raise WrongState(f"registration {found.name}: was replaced meanwhile; ask again")

    def _next(
        self, parts: Iterator[NDArray[Any]], context: grpc.ServicerContext
    ) -> NDArray[Any] | None:
        with held(self._computing, context):
            return next(parts, None)


def _under_way(state: State) -> Stored:
    reasons = [state.reason] if state.reason else []
    judgement = {"status": state.status, "reasons": reasons, "error_nm": None}
    report = {"name": state.job.where[2], "judgement": judgement}
    return Stored(state.job.where[2], json.dumps(report), report, ())


def _header(warped: Warped, box: Box, level: int, version: str) -> pb.WarpHeader:
    z, y, x = (edge * 2.0**level for edge in warped.voxel_nm)
    first = (
        corner + (start + 0.5) * edge
        for corner, start, edge in zip(warped.corner_nm, box.start, (z, y, x), strict=True)
    )
    a, b, c = first
    depth, rows, columns = level_shape(warped.shape, level)
    return pb.WarpHeader(
        shape=wire.index3(box.shape), dtype=warped.dtype,
        voxel_size_nm=chunk_pb2.Nanometres3(z=z, y=y, x=x),
        offset_nm=chunk_pb2.Nanometres3(z=a, y=b, x=c),
        whole=wire.index3((depth or 0, rows, columns)), version=version,
    )  # fmt: skip


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
