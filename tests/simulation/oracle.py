"""The whole volume as one block, by the same pure functions; and what the store holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.stage import Arrays, Block, Patch
from fibstream.services.analysis import service as analysis
from fibstream.services.analysis.stages.tables import TableFold
from fibstream.services.analysis.table import rows_hash
from fibstream.services.inference.stages.prediction import prediction_stage
from fibstream.services.refine import service as refine
from fibstream.store.store import Blob, Store

if TYPE_CHECKING:
    from .world import World


def table_hash(parquet: bytes) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return rows_hash(pq.read_table(pa.BufferReader(parquet)))


def read_array(store: Store, item: Blob, box: Box) -> np.ndarray:
    from fibstream.store.shard import Shard

    handle = store.files.open(item.path)
    assert handle is not None
    shard = Shard(handle, store.layout(str(item.dtype), item.level))
    return shard.voxels(Box((0, 0, 0), box.shape))


# -- drawing ---------------------------------------------------------------------------------------


def array_of(output: NDArray[Any] | Arrays) -> NDArray[Any]:
    assert isinstance(output, np.ndarray)
    return output


def summary_of(output: NDArray[Any] | Arrays) -> Arrays:
    assert not isinstance(output, np.ndarray)
    return output


@dataclass
class Whole:
    """The whole volume, computed as one block."""

    arrays: dict[tuple[str, str], np.ndarray]
    tables: dict[str, str]


def whole(world: World) -> Whole:
    """Compute every stage on one chunk that is the volume, from the last content of each chunk."""
    one = world.final.model_copy(update={"chunk": world.final.grid.extent})
    raw = np.zeros(one.grid.extent, one.dtype)
    absent: list[Box] = []
    for index, contents in world.plan.items():
        box = world.final.grid.box(index)
        voxels = contents[-1][1]
        if voxels is None:
            absent.append(box)
        else:
            raw[box.slices()] = voxels
    volume = one.grid.volume

    def patch(array: NDArray[Any]) -> Patch:
        return Patch(array, volume, tuple(absent))

    arrays: dict[tuple[str, str], NDArray[Any]] = {("raw", one.dtype): raw}
    stage = prediction_stage(one, one.models[0], lambda: world.engine)
    outputs = stage.compute(Block((0, 0, 0), volume, {"raw": patch(raw)}))
    prediction = array_of(outputs["predictions/mito"])
    arrays["predictions/mito", "uint8"] = prediction
    cut, paint = refine.SERVICE.stages(one, world.files)
    pieces = cut.compute(Block((0, 0, 0), volume, {"predictions/mito": patch(prediction)}))
    (fold,) = refine.SERVICE.folds(one)
    summary = summary_of(pieces["summaries/fragments/generic"])
    fold.put(fold.inputs[0], (0, 0, 0), "", summary)
    mapping = fold.extra("labels/generic", (0, 0, 0))
    assert mapping is not None
    outputs = paint.compute(
        Block(
            (0, 0, 0), volume, {"fragments/generic": patch(array_of(pieces["fragments/generic"]))},
            {"summaries/fragments/generic": summary}, mapping,
        )
    )  # fmt: skip
    labels = array_of(outputs["labels/generic"])
    arrays["labels/generic", "uint64"] = labels
    (measured,) = analysis.SERVICE.stages(one, world.files)
    outputs = measured.compute(
        Block((0, 0, 0), volume, {"labels/generic": patch(labels), "raw": patch(raw)})
    )
    rows = summary_of(outputs["summaries/measures/generic"])
    tables = TableFold(one)
    tables.put(tables.inputs[0], (0, 0, 0), "", rows)
    return Whole(arrays, {"generic": table_hash(tables._make("generic")["tables/generic.parquet"])})
