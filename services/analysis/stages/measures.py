"""``measures/<organelle>``: the partial rows of one chunk of labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import RAW, Arrays, Block, Input, Output, Stage
from fibstream.services.analysis.conventions import HALO


def measure_stage(dataset: Dataset, labels_of: str) -> Stage:
    """Return the stage that measures labels chunk by chunk: those of the stage ``labels_of``."""
    name = table_name(labels_of)
    labels = Input(labels_of, labels_of, "uint64", HALO)
    grey = (Input(RAW, RAW, dataset.dtype),) if with_raw(dataset) else ()

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        from fibstream.services.analysis.measure import measure  # the compiler comes with it

        raw = block.patches[RAW].array if grey else None
        rows = measure(block.patches[labels_of], block.core, raw)
        return {f"summaries/measures/{name}": rows}

    output = Output(f"summaries/measures/{name}")
    return Stage(f"measures/{name}", 2, (labels, *grey), (output,), {}, compute)


def table_name(labels: str) -> str:
    """Return the name of the table of an array of labels: ``mito`` of ``labels/mito``."""
    return labels.removeprefix("labels/")


def with_raw(dataset: Dataset) -> bool:
    """Whether intensities are measured: sums of integers are exact, sums of floats are not."""
    dtype = np.dtype(dataset.dtype)
    return dtype.kind in "ui" and dtype.itemsize <= 4


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    return [measure_stage(dataset, f"labels/{organelle.name}") for organelle in dataset.organelles]


MEASURES = Capability(("measures",), _stages)
