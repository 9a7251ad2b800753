"""ingest: land chunks, announce them, and keep the raw pyramid."""

from collections.abc import Sequence

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.stage import RAW, Input, Stage
from fibstream.runtime.loops import Service

from .stages.pyramid import pyramid_stage


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    """Return the pyramid of raw, if there is one."""
    return [] if dataset.levels == 1 else [pyramid_stage(dataset)]


def arrays(dataset: Dataset) -> list[tuple[str, str, bool]]:
    """Return the arrays that ingest owns."""
    return [(RAW, dataset.dtype, True)]


def lands(dataset: Dataset) -> Input:
    """Return what lands from outside."""
    return Input(RAW, RAW, dataset.dtype)


SERVICE = Service("ingest", stages, arrays=arrays, lands=lands)
