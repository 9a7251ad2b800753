"""Calls of registration."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

        Rows are NaN where the transform does not reach.
        """
        ends = registration_pb2.DIRECTION_TO_LIGHT, registration_pb2.DIRECTION_TO_SPECIMEN
        rows = np.asarray(points, np.float64).reshape(-1, 3).tolist()
        request = registration_pb2.TransformRequest(
            dataset=dataset, name=name, direction=ends[to_specimen],
            points=[chunk_pb2.Nanometres3(z=z, y=y, x=x) for z, y, x in rows],
        )  # fmt: skip
        answer = self._call(self._registration.Transform, request)
        found = [
            (p.point.z, p.point.y, p.point.x) if p.HasField("point") else (np.nan,) * 3
            for p in answer.points
        ]
        return np.array(found, np.float64).reshape(-1, 3)
