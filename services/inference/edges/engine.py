"""Engines: a network's file, run by a backend at one precision, that has checked itself."""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray

from fibstream.core.errors import FibstreamError, Poison, WrongUse
from fibstream.services.inference.backend import (
    FP32,
    JUDGED,
    Backend,
    Wanted,
    candidates,
    deviation,
    judged,
    recorded,
)
from fibstream.services.inference.grey import check_range, quantise
from fibstream.services.inference.port import Meaning, ModelSpec
from fibstream.services.inference.selfcheck import output_digest, self_check, smooth_block

from .backends import BACKENDS, REFERENCE
from .model import read_network

log = logging.getLogger(__name__)


class NetworkEngine:
    """An ``Engine`` of any backend; checks itself once when it is made.

    Parameters
    ----------
    path
        The ONNX file.
    backend, precision
        What runs it, and how.
    threads
        Threads of one inference; the result does not depend on them.
    meaning
        What the output of a file that does not declare it means, by the dataset's record.

    Raises
    ------
    WrongUse
        The file is not a network that fibstream can run, or fails its self-check.
    """

    def __init__(
        self, path: Path, backend: Backend, precision: str, threads: int = 1,
        meaning: Meaning | None = None,
    ) -> None:  # fmt: skip
        model: onnx.ModelProto
        self.spec: ModelSpec
        self.spec, model = read_network(path, meaning)
        self._rounded = _before_cast(path, model.graph)
        content = model.SerializeToString()
        try:
            self._run = backend.load(content, self.spec.tile, precision, threads)
            digest = self_check(self.infer, self.spec)
            self.smooth = self.infer(smooth_block(self.spec.tile))
        except Poison as error:  # of a block that is no data
            raise WrongUse(str(error)) from None
        except FibstreamError:
            raise
        except Exception as error:  # the runtimes' errors have no other base
            raise WrongUse(f"model {path}: the runtime cannot execute it: {_why(error)}") from error
        self.profile: Mapping[str, str] = MappingProxyType(
            {
                "runtime": backend.runtime() or "",
                "provider": backend.provider,
                "precision": precision,
                "tile": "x".join(map(str, self.spec.tile)),
                "digest": digest,
                "smooth_digest": output_digest(self.smooth),
                **self._run.facts,
            }
        )

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the prediction of one tile; see ``Engine``."""
        assert tile.dtype == np.uint8 and tile.shape == self.spec.tile, (tile.dtype, tile.shape)
        found: NDArray[np.float32] = self._run(tile[None, None])[0]
        try:
            if not self._rounded:
                return quantise(found, self.spec.meaning)
            check_range(found, (0, 255), "byte of a distance")
            return found.astype(np.uint8)
        except ValueError as error:
            raise Poison(f"model {self.spec.name}: yields {error}") from None


class CpuEngine(NetworkEngine):
    """The reference: ONNX Runtime on the processor, in fp32."""

    def __init__(self, path: Path, threads: int = 1, meaning: Meaning | None = None) -> None:
        super().__init__(path, REFERENCE, FP32, threads, meaning)


def make_engine(
    path: Path, threads: int, wanted: Wanted, backends: Sequence[Backend] = BACKENDS
) -> NetworkEngine:
    """Return an engine for a new dataset: as wanted, else the fastest that computes in fp32.

    Below fp32 its profile tells how far it deviates from the reference. A backend that was not
    asked for by name and cannot run the network gives way to the next, with a warning in the log;
    one that computes on a GPU gives way to none.

    Raises
    ------
    WrongUse
        The network is none, what was wanted is not there, or deviates by too much.
    """
    found = candidates(wanted, backends)
    for (backend, precision), (following, _) in pairwise(found):
        try:
            return _judged(path, backend, precision, threads)
        except WrongUse as error:
            if backend.on_gpu:
                raise WrongUse(
                    f"{error}; --backend {following.name} does not use the GPU"
                ) from None
            log.warning("backend %s: %s; trying %s", backend.name, error, following.name)
    return _judged(path, *found[-1], threads)


def _judged(path: Path, backend: Backend, precision: str, threads: int) -> NetworkEngine:
    """Return an engine with its deviation from fp32 in the profile; WrongUse if it is too large."""
    engine = NetworkEngine(path, backend, precision, threads)
    if precision != FP32:
        exact = CpuEngine(path, threads)
        told = judged(engine.spec.name, precision, *deviation(engine.smooth, exact.smooth))
        engine.profile = MappingProxyType({**engine.profile, **told})
    return engine


def engine_of(
    path: Path, profile: Mapping[str, str], threads: int, meaning: Meaning | None = None
) -> NetworkEngine:
    """Return the engine that a dataset was created with.

    Raises
    ------
    WrongUse
        This machine lacks the backend, or computes other bits with it.
    """
    backend, precision = recorded(profile, BACKENDS)
    name = path.stem
    why = backend.why_not(precision)
    if why is not None:
        raise WrongUse(
            f"model {name}: its dataset is computed by backend {backend.name}, which {why}"
        )
    engine = NetworkEngine(path, backend, precision, threads, meaning)
    differs = [
        f"{key} {engine.profile.get(key)} instead of {value}"
        for key, value in profile.items()
        if key not in JUDGED and engine.profile.get(key) != value
    ]
    if differs:
        raise WrongUse(f"this machine does not reproduce model {name}: {', '.join(differs)}")
    return engine


def _why(error: Exception) -> str:
    """Return one line of what a runtime says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _before_cast(path: Path, graph: onnx.GraphProto) -> bool:
    """Remove a last cast to uint8 from the output; return whether the output is uint8.

    Such a cast would turn NaN into some grey value, silently. So it must be the last node, or have
    none but identities after it: WrongUse else.
    """
    output = graph.output[0]
    if output.type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return False
    makers = {name: node for node in graph.node for name in node.output}
    maker = makers.get(output.name)
    while maker is not None and maker.op_type == "Identity":
        maker = makers.get(maker.input[0])
    if maker is None or maker.op_type != "Cast":
        raise WrongUse(
            f"model {path}: its uint8 output must be made by a last Cast, before which values that "
            f"are not finite are found; found {maker.op_type if maker else 'none'}"
        )
    output.name = maker.input[0]
    output.ClearField("type")  # the runtime infers it
    return True
