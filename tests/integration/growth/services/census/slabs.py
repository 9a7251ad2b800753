"""``census/<organelle>``: its voxels in slabs of equal depth, and the table of their volumes."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from fibstream.core.dataset import Dataset, Frozen
from fibstream.core.errors import WrongUse
from fibstream.core.ports import Files
from fibstream.core.service import Capability, Word
from fibstream.core.stage import Arrays, Block, Input, Made, Output, Stage
from fibstream.core.subject import WHOLE


class Slabs(Frozen):
    """One entry of ``census:``: an organelle and the depth of a slab."""

    of: str
    depth_nm: float = Field(default=80, gt=0, allow_inf_nan=False)


def resolve(dataset: Dataset, entries: Sequence[Slabs]) -> Sequence[Slabs]:
    """Return the entries; raise WrongUse for an organelle that the pipeline has not."""
    known = [organelle.name for organelle in dataset.organelles]
    for entry in entries:
        if entry.of not in known:
            raise WrongUse(f"census: no organelle {entry.of[:80]!r}: {', '.join(known)}")
    return entries


def slab_stage(dataset: Dataset, entry: Slabs) -> Stage:
    """Return the stage that numbers the slabs from 1 on and counts their voxels in a chunk."""
    labels, path = f"labels/{entry.of}", f"census/{entry.of}"
    depth = max(round(entry.depth_nm / dataset.voxel_size_nm[0]), 1)  # voxels

    def compute(block: Block) -> Mapping[str, Made]:
        numbers = np.arange(block.core.start[0], block.core.stop[0], dtype=np.uint64)
        slabs = (numbers // np.uint64(depth) + np.uint64(1))[:, None, None]
        found = np.where(block.patches[labels].array != 0, slabs, np.uint64(0))
        return {path: found, f"summaries/{path}": count(found, block.core.start)}

    return Stage(
        path, 1, (Input(labels, labels, "uint64"),),
        (Output(path, "uint64", "mode"), Output(f"summaries/{path}")),
        {"depth": depth}, compute,
    )  # fmt: skip


def count(slabs: np.ndarray, start: tuple[int, int, int]) -> Arrays:
    """Return the slabs of a chunk that begins at ``start``: id, voxels, first and last voxel."""
    ids = np.unique(slabs[slabs != 0])
    where = [np.argwhere(slabs == number) + np.array(start) for number in ids]
    low = [voxels.min(0) for voxels in where]
    high = [voxels.max(0) for voxels in where]
    return {
        "ids": ids.astype("<u8"),
        "voxels": np.array([len(voxels) for voxels in where], "<i8"),
        "low": np.array(low, "<i8").reshape(-1, 3),
        "high": np.array(high, "<i8").reshape(-1, 3),
    }


def table_stage(entry: Slabs) -> Stage:
    """Return the stage that adds up the counts of all chunks."""
    counts = Input(f"census/{entry.of}", f"summaries/census/{entry.of}")
    path = f"tables/census/{entry.of}.parquet"

    def compute(block: Block) -> Mapping[str, Made]:
        import pyarrow as pa
        from pyarrow import parquet

        cells = block.cells[counts.name]
        none = count(np.zeros((0, 0, 0), np.uint64), (0, 0, 0))
        parts = [none, *(cells[index] for index in cells)]
        every = {name: np.concatenate([part[name] for part in parts]) for name in none}
        ids, group = np.unique(every["ids"], return_inverse=True)
        voxels = np.zeros(len(ids), np.int64)
        np.add.at(voxels, group, every["voxels"])
        low, high = np.full((len(ids), 3), 2**31), np.zeros((len(ids), 3), np.int64)
        np.minimum.at(low, group, every["low"])
        np.maximum.at(high, group, every["high"])
        columns = {"id": ids, "voxels": voxels}
        columns |= {f"min_{axis}": low[:, n] for n, axis in enumerate("zyx")}
        columns |= {f"max_{axis}": high[:, n] for n, axis in enumerate("zyx")}
        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table(columns), sink)
        return {path: sink.getvalue().to_pybytes()}

    return Stage(
        f"census-table/{entry.of}", 1, (counts,), (Output(path),), {}, compute, subjects=WHOLE
    )


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:
    entries = [Slabs.model_validate(dict(step)) for step in dataset.steps.get("census", ())]
    return [stage for e in entries for stage in (slab_stage(dataset, e), table_stage(e))]


SLABS = Capability(("census", "census-table"), _stages, words=(Word("census", Slabs, resolve),))
