"""ingest: land chunks, announce them, and keep the raw pyramid."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fibstream.dataset import Dataset
from fibstream.loops import Service
from fibstream.planner import RAW
from fibstream.ports import Files
from fibstream.stage import Arrays, Block, Input, Output, Stage


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    """Return the pyramid of raw: an ordinary derived output, unlike raw itself."""
    if dataset.levels == 1:
        return []
    raw = Input(RAW, RAW, dataset.dtype)
    coarser = Output(RAW, dataset.dtype, "mean", first=1)
    return [Stage("pyramid/raw", 1, (raw,), (coarser,), {}, _same)]


def _same(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
    return {RAW: block.patches[RAW].array}


def arrays(dataset: Dataset) -> list[tuple[str, str, bool]]:
    """Return the arrays that ingest owns."""
    return [(RAW, dataset.dtype, True)]


def lands(dataset: Dataset) -> Input:
    """Return what lands from outside."""
    return Input(RAW, RAW, dataset.dtype)


SERVICE = Service("ingest", stages, arrays=arrays, lands=lands)
