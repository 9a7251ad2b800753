"""What a servicer is made with."""

from collections.abc import Sequence
from typing import NamedTuple

from fibstream.telemetry.metrics import SILENT, Telemetry

from .root import Root
from .settings import Settings


class ServicerContext(NamedTuple):
    """What a servicer gets: the datasets, the settings, folders to read from, the metrics."""

    root: Root
    settings: Settings
    sources: Sequence[str] = ()
    telemetry: Telemetry = SILENT
