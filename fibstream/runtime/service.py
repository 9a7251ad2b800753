"""What a service is to all others, as data: its stages, its fold, its arrays, its gRPC servicer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fibstream.core.dataset import Dataset
from fibstream.core.fold import Fold, NoFold
from fibstream.core.ports import Files
from fibstream.core.stage import Input, Stage
from fibstream.telemetry.metrics import SILENT, Telemetry

from .root import Root
from .settings import Settings

if TYPE_CHECKING:  # only a process that serves gRPC waits for its import
    from .grpc import ServicerBinding

Array = tuple[str, str, bool]  # path of a group inside the dataset, dtype, whether it is multiscale


class ServicerContext(NamedTuple):
    """What a servicer gets: the datasets, the settings, folders to read from, the metrics."""

    root: Root
    settings: Settings
    sources: Sequence[Path] = ()
    telemetry: Telemetry = SILENT


def _no_servicer(_: ServicerContext) -> "ServicerBinding":
    raise NotImplementedError("this service answers no calls")


@dataclass(frozen=True)
class Service:
    """One service as data; ``servicer`` imports what answers its calls when it is called."""

    name: str
    stages: Callable[[Dataset, Files], Sequence[Stage]]
    fold: Callable[[Dataset], Fold] = field(default=lambda _: NoFold())
    arrays: Callable[[Dataset], list[Array]] = field(default=lambda _: [])
    lands: Callable[[Dataset], Input | None] = field(default=lambda _: None)
    describe: Callable[[Dataset, Telemetry], None] = field(default=lambda *_: None)
    servicer: Callable[[ServicerContext], "ServicerBinding"] = _no_servicer
