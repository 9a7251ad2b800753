"""Calls of registration."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.v1 import chunk_pb2, registration_pb2, registration_pb2_grpc

from .connection import Connection


class RegistrationCalls(Connection):
    """What registration answers."""

    @property
    def _registration(self) -> Any:
        return registration_pb2_grpc.RegistrationServiceStub(self._channel("registration"))

    def registrations(self, dataset: str) -> dict[str, Any]:
        """Return the report of every registration of a dataset, by name."""
        request = registration_pb2.ListRegistrationsRequest(dataset=dataset)
        answer = self._call(self._registration.ListRegistrations, request)
        return {each.name: json.loads(each.report) for each in answer.registrations}

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
