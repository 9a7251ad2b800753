"""``pyramid/<name>``: the coarser levels of an array that lands, an ordinary derived output."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import RAW, Arrays, Block, Input, Output, Stage

from .stored import stored


def pyramid_stage(landed: Input) -> Stage:
    """Return the stage that averages one landed chunk into the levels that its owner writes."""

    def same(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        return {landed.name: block.patches[landed.name].array}

    coarser = Output(landed.name, landed.dtype, "mean", first=1)
    name = landed.name.rpartition("/")[2]
    return Stage(f"pyramid/{name}", 1, (landed,), (coarser,), {}, same)


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    if dataset.levels == 1:
        return []
    return [pyramid_stage(each) for each in (Input(RAW, RAW, dataset.dtype), *stored(dataset))]


PYRAMID = Capability(("pyramid",), _stages)
