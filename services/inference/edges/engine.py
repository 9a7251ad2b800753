"""Engines: a network's file, run by a backend at one precision, that has checked itself."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray

from fibstream.core.echo import cut
from fibstream.core.errors import FibstreamError, Poison, WrongUse
from fibstream.core.grid import Index
from fibstream.services.inference.backend import (
    FP32,
    INT8,
    JUDGED,
    Backend,
    Wanted,
    candidates,
    deviation,
    judged,
    recorded,
)
from fibstream.services.inference.bound import QUANTISED, RULES, Unproven, bounds
from fibstream.services.inference.grey import check_range, quantise
from fibstream.services.inference.port import Meaning, ModelSpec
from fibstream.services.inference.selfcheck import output_digest, self_check, smooth_block
from fibstream.services.inference.tile import recorded_tile, tile_text

from .backends import BACKENDS, REFERENCE
from .graph import graph_of
from .int8 import to_int8
from .model import read_network
from .tiles import tile_of

log = logging.getLogger(__name__)


class Network:
    """A network's file, loaded by a backend for one tile.

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
    tile
        Edges of the input, (z, y, x); None: those of the file's metadata.

    Raises
    ------
    WrongUse
        The file is not a network that fibstream can run, or the backend may not run it.
    """

    def __init__(
        self, path: Path, backend: Backend, precision: str, threads: int = 1,
        meaning: Meaning | None = None, tile: Index | None = None,
    ) -> None:  # fmt: skip
        model: onnx.ModelProto
        self.spec: ModelSpec
        self.spec, model = read_network(path, meaning, tile)
        self._rounded = _before_cast(path, model.graph)
        self.calibrated: Mapping[str, str] = {}  # for the profile: on what, of int8
        if precision == INT8:
            found = to_int8(path, model)
            self.calibrated = {"calibrated": cut(f"{found.tiles} tiles of {found.volume}")}
        if backend.hides_nan:
            _check_bounded(path, model, backend, precision)
        with refused(path):
            content = model.SerializeToString()
            self._run = backend.load(content, self.spec.tile, precision, threads)

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

    def smooth_prediction(self) -> NDArray[np.uint8]:
        """Return the prediction of `smooth_block`, by which precisions and backends compare."""
        return self.infer(smooth_block(self.spec.tile))


class NetworkEngine(Network):
    """An ``Engine`` of any backend; checks itself once when it is made.

    Takes what a `Network` takes; raises WrongUse also where the self-check fails.
    """

    def __init__(
        self, path: Path, backend: Backend, precision: str, threads: int = 1,
        meaning: Meaning | None = None, tile: Index | None = None,
    ) -> None:  # fmt: skip
        super().__init__(path, backend, precision, threads, meaning, tile)
        with refused(path):
            digest = self_check(self.infer, self.spec)
            self.smooth = self.smooth_prediction()
        self.profile: Mapping[str, str] = MappingProxyType(
            {
                "runtime": backend.runtime() or "",
                "provider": backend.provider,
                "precision": precision,
                "tile": tile_text(self.spec.tile),
                "digest": digest,
                "smooth_digest": output_digest(self.smooth),
                **self.calibrated,
                **self._run.facts,
            }
        )


@contextmanager
def refused(path: Path) -> Iterator[None]:
    """Raise WrongUse, in one line, for whatever a runtime raises of a block that is no data."""
    try:
        yield
    except Poison as error:
        raise WrongUse(str(error)) from None
    except FibstreamError:
        raise
    except Exception as error:  # the runtimes' errors have no other base
        raise WrongUse(f"model {path}: the runtime cannot execute it: {_why(error)}") from error


class CpuEngine(NetworkEngine):
    """The reference: ONNX Runtime on the processor, in fp32."""

    def __init__(
        self, path: Path, threads: int = 1, meaning: Meaning | None = None,
        tile: Index | None = None,
    ) -> None:  # fmt: skip
        super().__init__(path, REFERENCE, FP32, threads, meaning, tile)


def make_engine(
    path: Path, threads: int, wanted: Wanted, backends: Sequence[Backend] = BACKENDS
) -> NetworkEngine:
    """Return an engine for a new dataset: as wanted, else the fastest that computes in fp32.

    Its profile tells how far it deviates from the reference. A backend that was not asked for by
    name and cannot run the network, or changes the side of a voxel of the check, gives way to the
    next, which the log tells; one that computes on a GPU gives way to none.

    Raises
    ------
    WrongUse
        The network is none, what was wanted is not there, or deviates by too much.
    """
    found, tile = candidates(wanted, backends), tile_of(path, wanted)
    gave_way = []
    for (backend, precision), (following, _) in pairwise(found):
        try:
            engine = _judged(path, backend, precision, threads, tile, exact=not backend.on_gpu)
            break
        except WrongUse as error:
            if backend.on_gpu:
                raise WrongUse(
                    f"{error}; --backend {following.name} does not use the GPU"
                ) from None
            gave_way.append((backend.name, str(error), following.name))
    else:
        engine = _judged(path, *found[-1], threads, tile)
    for names in gave_way:  # of a network that none can run the one error says enough
        log.warning("backend %s: %s; trying %s", *names)
    return engine


def _judged(
    path: Path, backend: Backend, precision: str, threads: int, tile: Index | None, *,
    exact: bool = False,
) -> NetworkEngine:  # fmt: skip
    """Return an engine with its deviation from the reference in the profile.

    Raises WrongUse where it is too large; ``exact`` allows less (see `judged`).
    """
    engine = NetworkEngine(path, backend, precision, threads, tile=tile)
    if backend is not REFERENCE and not (backend.on_gpu and precision == FP32):
        reference = Network(path, REFERENCE, FP32, threads, tile=tile)
        found = deviation(engine.smooth, reference.smooth_prediction())
        exact = exact and precision == FP32
        told = judged(engine.spec.name, precision, *found, exact=exact)
        engine.profile = MappingProxyType({**engine.profile, **told})
    return engine


def engine_of(
    path: Path, profile: Mapping[str, str], threads: int, meaning: Meaning | None = None
) -> NetworkEngine:
    """Return the engine that a dataset was created with; its profile is the dataset's.

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
    try:
        tile = recorded_tile(profile)
        engine = NetworkEngine(path, backend, precision, threads, meaning, tile)
    except WrongUse as error:
        raise WrongUse(f"this machine does not reproduce model {name}: {error}") from None
    differs = [
        f"{key} {engine.profile.get(key)} instead of {value}"
        for key, value in profile.items()
        if key not in JUDGED and engine.profile.get(key) != value
    ]
    if differs:
        raise WrongUse(f"this machine does not reproduce model {name}: {', '.join(differs)}")
    engine.profile = MappingProxyType(dict(profile))  # keys of outputs have it, whole
    return engine


def _check_bounded(path: Path, model: onnx.ModelProto, backend: Backend, precision: str) -> None:
    """Raise WrongUse unless no value inside a network, as it is run, can be infinite or NaN."""
    try:
        bounds(graph_of(model), QUANTISED if precision == INT8 else RULES)
    except Unproven as error:
        raise WrongUse(
            f"model {path}: not proven to be free of infinities and NaN, which backend "
            f"{backend.name} may turn into grey values: {error}; use backend {REFERENCE.name}"
        ) from None


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
