"""``fragments/<organelle>``: a prediction is cut into fragments, one chunk at a time."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, Organelle
from fibstream.core.stage import Arrays, Block, Input, Output, Stage
from fibstream.services.refine.cut import cut_fragments, halo
from fibstream.services.refine.recipe import RecipeSettings


def fragment_stage(dataset: Dataset, organelle: Organelle) -> Stage:
    """Return the stage that cuts a prediction into fragments."""
    name, settings = organelle.recipe, RecipeSettings.model_validate(dict(organelle.settings))
    voxel = dataset.voxel_size_nm
    array = f"predictions/{organelle.source}"
    # Size limits hold for whole objects: the fold applies them, and they change no fragment.
    cut = settings.model_dump(exclude={"min_volume_nm3", "max_volume_nm3", "min_rule"})

    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        ids, summary = cut_fragments(block.patches[array], block.core, settings, voxel)
        return {f"fragments/{name}": ids, f"summaries/fragments/{name}": summary}

    return Stage(
        f"fragments/{name}", 1,
        (Input(_maker(dataset, organelle), array, "uint8", halo(settings, voxel)),),
        (Output(f"fragments/{name}", "uint64"), Output(f"summaries/fragments/{name}")),
        {"settings": cut, "voxel_size_nm": list(voxel)},
        compute,
    )  # fmt: skip


def _maker(dataset: Dataset, organelle: Organelle) -> str:
    """Return the stage that predicts an organelle's class."""
    model = next(m.name for m in dataset.models if organelle.source in m.classes)
    return f"prediction/{model}"
