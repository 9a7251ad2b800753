"""``pyramid/raw``: the coarser levels of raw, an ordinary derived output, unlike raw itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import RAW, Arrays, Block, Input, Output, Stage


def pyramid_stage(dataset: Dataset) -> Stage:
    """Return the stage that averages one chunk of raw into the levels that its owner writes."""
    raw = Input(RAW, RAW, dataset.dtype)
    coarser = Output(RAW, dataset.dtype, "mean", first=1)
    return Stage("pyramid/raw", 1, (raw,), (coarser,), {}, _same)


def _same(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
    return {RAW: block.patches[RAW].array}


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    return [] if dataset.levels == 1 else [pyramid_stage(dataset)]


PYRAMID = Capability(("pyramid",), _stages)
