"""Calls of registration."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.core.echo import echo
from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.grid import Index
from fibstream.v1 import chunk_pb2, registration_pb2, registration_pb2_grpc

from .connection import Connection, named_errors


class Warped(NamedTuple):
    """A box of a warped light image, ``voxels`` (z, y, x), and what it is of; lengths in nm."""

    voxels: NDArray[Any]
    voxel_size_nm: tuple[float, float, float]
    offset_nm: tuple[float, float, float]  # of the first voxel's centre
    whole: tuple[int | None, int, int]  # voxels of the level; z None: open
    version: str  # equal for boxes of one registration


class RegistrationCalls(Connection):
    """What registration answers."""

    @property
    def _registration(self) -> Any:
        return registration_pb2_grpc.RegistrationServiceStub(self._channel("registration"))

    def register(
        self, dataset: str, light: str, prediction: str, *, name: str = "",
        microscope: str = "sim", window: tuple[float, float] = (0.0, 0.0),
        light_voxel_nm: tuple[float, float, float] | None = None, replace: bool = False,
    ) -> str:  # fmt: skip
        """Start a registration of a finished prediction; return its name, under which to watch it.

        ``light`` is a volume below the service's ``--source``.  The same request again finds the
        same registration; ``replace`` lets go what another one of that name found.
        """
        size = None if light_voxel_nm is None else wire.nanometres3(light_voxel_nm)
        request = registration_pb2.RegisterRequest(
            dataset=dataset, name=name, prediction=prediction, light=light, microscope=microscope,
            window_low=window[0], window_high=window[1], light_voxel_nm=size, replace=replace,
        )  # fmt: skip
        return str(self._call(self._registration.Register, request).name)

    def watch_registration(self, dataset: str, name: str) -> Iterator[Any]:
        """Yield a registration as it is, once there is one, then each that replaces it."""
        request = registration_pb2.WatchRegistrationRequest(dataset=dataset, name=name)
        with named_errors():
            for answer in self._registration.WatchRegistration(request):
                yield answer.registration

    def registrations(self, dataset: str) -> dict[str, Any]:
        """Return the report of every registration of a dataset, by name.

        Of one that cannot be read there is ``{"damaged": reason}`` instead.
        """
        found: dict[str, Any] = {}
        token = ""
        while True:
            request = registration_pb2.ListRegistrationsRequest(dataset=dataset, page_token=token)
            answer = self._call(self._registration.ListRegistrations, request)
            found |= {each.name: json.loads(each.report) for each in answer.registrations}
            found |= {each.name: {"damaged": each.reason} for each in answer.damaged}
            token = answer.next_page_token
            if not token:
                return found

    def transform(
        self, dataset: str, name: str, points: Any, *, to_specimen: bool = False
    ) -> NDArray[np.float64]:
        """Return points (n, 3) nm ``(z, y, x)`` of the specimen in the light image, or back.

        Rows are NaN where the transform does not reach.  Raises WrongUse for another shape.
        """
        places = np.asarray(points, np.float64)
        if places.size and (places.ndim != 2 or places.shape[1] != 3):
            raise WrongUse(f"points of shape {places.shape}: expected (n, 3), nm (z, y, x)")
        ends = registration_pb2.DIRECTION_TO_LIGHT, registration_pb2.DIRECTION_TO_SPECIMEN
        request = registration_pb2.TransformRequest(
            dataset=dataset, name=name, direction=ends[to_specimen],
            points=[chunk_pb2.Nanometres3(z=z, y=y, x=x) for z, y, x in places.tolist()],
        )  # fmt: skip
        answer = self._call(self._registration.Transform, request)
        found = [
            (p.point.z, p.point.y, p.point.x) if p.HasField("point") else (np.nan,) * 3
            for p in answer.points
        ]
        return np.array(found, np.float64).reshape(-1, 3)

    def warp(
        self, dataset: str, name: str, origin: Index, shape: Index, *, level: int = 0,
        version: str = "",
    ) -> Warped:  # fmt: skip
        """Return a box of the light image on the specimen's grid, as it is in ``lm/NAME``.

        ``origin`` and ``shape`` are (z, y, x) in voxels of the level.  ``version``: of an earlier
        answer, of which this box shall be too; raises WrongState where another is there now.
        """
        try:
            request = registration_pb2.WarpRequest(
                dataset=dataset, name=name, origin=wire.index3(origin), shape=wire.index3(shape),
                level=level, version=version,
            )  # fmt: skip
        except (TypeError, ValueError):  # no whole numbers, or below 0
            raise WrongUse(
                f"box at {echo(origin)} of {echo(shape)}, level {echo(level)}: expected Z,Y,X"
            ) from None
        with named_errors():
            answers = self._registration.Warp(request, timeout=self._timeout_s)
            header = next(answers).header
            data = b"".join(answer.piece for answer in answers)
        dtype = np.dtype(header.dtype).newbyteorder("<")
        if len(data) != np.prod(shape) * dtype.itemsize:
            raise Retryable(f"{len(data)} bytes of {shape} voxels of {dtype}: the answer is torn")
        z, y, x = wire.index_of(header.whole)
        return Warped(
            np.frombuffer(data, dtype).reshape(shape), wire.lengths_of(header.voxel_size_nm),
            wire.lengths_of(header.offset_nm), (z or None, y, x), header.version,
        )  # fmt: skip
