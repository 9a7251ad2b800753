"""Calls of inference."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.v1 import chunk_pb2, inference_pb2, inference_pb2_grpc

from .connection import Connection, named_errors, pieces_of


class InferenceCalls(Connection):
    """What inference answers."""

    @property
    def _inference(self) -> Any:
        return inference_pb2_grpc.InferenceServiceStub(self._channel("inference"))

    def models(self) -> list[Any]:
        """Return the networks that the server has, as messages."""
        return list(
            self._call(self._inference.ListModels, inference_pb2.ListModelsRequest()).models
        )

    def describe_model(
        self, model: str, *, backend: str = "", precision: str = "", tile: str = ""
    ) -> Any:  # fmt: skip
        """Return how the server computes one network, as a message; what is empty it chooses."""
        request = inference_pb2.DescribeModelRequest(
            model=model, backend=backend, precision=precision, tile=tile
        )
        return self._call(self._inference.DescribeModel, request).model

    def predict(
        self, model: str, raw: NDArray[Any], *, voxel_size_nm: tuple[float, float, float],
        contrast: tuple[float, float] | None = None, invert: bool = False,
    ) -> tuple[tuple[str, ...], NDArray[np.uint8]]:  # fmt: skip
        """Predict a small volume (z, y, x); return classes and uint8 (class, z, y, x)."""
        low, high = contrast or (0.0, 0.0)
        z, y, x = voxel_size_nm
        header = inference_pb2.PredictHeader(
            model=model, shape=wire.index3(raw.shape), dtype=str(raw.dtype),
            voxel_size_nm=chunk_pb2.Nanometres3(z=z, y=y, x=x),
            contrast_low=low, contrast_high=high, invert=invert,
        )  # fmt: skip
        plain = np.ascontiguousarray(raw, raw.dtype.newbyteorder("<"))
        requests = [inference_pb2.PredictRequest(header=header)]
        requests += [inference_pb2.PredictRequest(piece=piece) for piece in pieces_of(plain)]
        with named_errors():
            answers = self._inference.Predict(iter(requests), timeout=self._timeout_s)
            first = next(answers).header
            data = b"".join(answer.piece for answer in answers)
        shape = (len(first.classes), *wire.index_of(first.shape))
        return tuple(first.classes), np.frombuffer(data, np.uint8).reshape(shape)
