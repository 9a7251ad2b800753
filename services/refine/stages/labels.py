"""``labels/<organelle>``: fragments get the ids of their objects, by the mapping of the fold."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fibstream.core.stage import Arrays, Block, Input, Output, Stage


def label_stage(name: str) -> Stage:
    """Return the stage that gives fragments of the organelle ``name`` the ids of their objects."""

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        from fibstream.kernels.relabel import relabel

        ids = block.summaries[f"summaries/fragments/{name}"]["ids"]
        found = relabel(block.patches[f"fragments/{name}"].array, ids, block.extra)
        return {f"labels/{name}": found}

    inputs = (
        Input(f"fragments/{name}", f"fragments/{name}", "uint64"),
        Input(f"fragments/{name}", f"summaries/fragments/{name}"),
    )
    output = Output(f"labels/{name}", "uint64", "mode")
    return Stage(f"labels/{name}", 1, inputs, (output,), {}, compute, folded=True)
