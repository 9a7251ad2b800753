"""The engines of networks: on this machine, or as a service of inference says that it has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fibstream.client import Client
from fibstream.core.dataset import Model
from fibstream.core.errors import FibstreamError, WrongState
from fibstream.registry import ports
from fibstream.runtime.settings import Settings
from fibstream.services.inference.backend import AUTO, MEMORY_GB, MODEL, Wanted
from fibstream.services.inference.edges.model import read_model
from fibstream.services.inference.port import Described, Engine, ModelSpec
from fibstream.services.ingest.edges.datasets import DatasetRequest

AS_AUTO = Wanted()
PATIENCE_S, TIMEOUT_S = 3.0, 50.0  # shorter than whoever waits for the dataset


class Told(NamedTuple):
    """How a network is computed, once it is known; see `Described`."""

    spec: ModelSpec
    profile: Mapping[str, str]


def make_engine(path: Path, threads: int, wanted: Wanted = AS_AUTO) -> Engine:
    """Load a network on the backend that is wanted, and let it check itself."""
    from fibstream.services.inference.edges.engine import make_engine

    return make_engine(path, threads, wanted)


def engine_of(path: Path, model: Model, threads: int) -> Engine:
    """Load a network of a dataset as the dataset was created with it."""
    from fibstream.services.inference.edges.engine import engine_of

    return engine_of(path, model.profile, threads)


def wanted_of(settings: Settings) -> Wanted:
    """Return which backend, precision and tile settings ask for."""
    return Wanted(settings.backend, settings.precision, settings.tile, settings.tile_memory_gb)


def wanted_by(request: DatasetRequest) -> Wanted:
    """Return which backend, precision and tile a request asks for."""
    return Wanted(
        request.backend or AUTO, request.precision or AUTO, request.tile or MODEL,
        request.tile_memory_gb or MEMORY_GB,
    )  # fmt: skip


def described(path: Path, request: DatasetRequest, threads: int) -> Described:
    """Return how a network is computed: here, or by the service of inference that is to be asked.

    That is where GPUs are, which whoever creates datasets may have none of.
    """
    if not request.inference:
        made = make_engine(path, threads, wanted_by(request))
        return Told(made.spec, made.profile)  # an engine holds some hundred MB
    asked, address = wanted_by(request), _with_port(request.inference)
    with Client(f"inference={address}", patience_s=PATIENCE_S, timeout_s=TIMEOUT_S) as client:
        try:
            found = client.describe_model(
                path.stem, backend=asked.backend, precision=asked.precision, tile=asked.tile
            )
        except FibstreamError as error:  # what asks for a dataset knows nothing of this setting
            raise type(error)(f"inference at {address}: {error}") from None
    spec = read_model(path)
    if found.sha256 != spec.sha256:
        raise WrongState(
            f"model {spec.name}: inference at {address} has another file of this name;"
            " expected the same below both roots"
        )
    tile = found.tile.z, found.tile.y, found.tile.x
    return Told(spec.model_copy(update={"tile": tile}), dict(found.profile))


def _with_port(address: str) -> str:
    """Return the address of inference, at its own port where it has none."""
    return address if address.rpartition("]")[2].count(":") else f"{address}:{ports()['inference']}"
