"""``registration/<name>``: the volume aligned with a light image, while it streams and in the end.

One file holds all that was found, so that it is replaced in one step; an answer that there is no
registration is a result as well.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fibstream.core.dataset import Dataset
from fibstream.core.stage import Arrays, Block, Made, Output, Stage
from fibstream.core.subject import WHOLE
from fibstream.services.registration.coarse import coarse_of, corner_of
from fibstream.services.registration.planned import Light, Planned

from .coarse import coarse_rows

if TYPE_CHECKING:
    from fibstream.services.registration.port import Image

VERSION = 3  # of search, fit, judgement and support: raised when any of them gives other bits


def registration_stage(
    dataset: Dataset, planned: Planned, light: Callable[[Light], "Image"],
    encode: Callable[[Arrays], bytes],
) -> Stage:  # fmt: skip
    """Return the stage of one registration.

    ``light`` reads an image that the dataset keeps, ``encode`` gives the bytes of named arrays.
    """
    inputs = tuple(coarse_rows(dataset, source) for source in planned.sources)
    coarse = coarse_of(dataset.voxel_size_nm, dataset.chunk)
    corner_nm = specimen_corner(dataset)

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.services.registration.answer import to_arrays
        from fibstream.services.registration.streamed import answer_of, known_of, score_of

        assert block.grid is not None
        known, by = [], (planned.microscope, planned.settings)
        for rows in inputs:
            cells = {index: made["grey"] for index, made in block.cells[rows.name].items()}
            known.append(known_of(cells, block.grid, coarse, corner_nm))
        answer = answer_of(known[0], light(planned.light), by)
        if (apart := planned.held_out) is not None:
            score = score_of(answer, known[0], known[1], light(apart.light), by)
            answer = answer._replace(apart=score)
        return {planned.path: encode(to_arrays(answer._replace(light=planned.light.hash)))}

    settings: dict[str, Any] = planned.model_dump(mode="json", exclude={"name": True})
    for each in (settings, settings["held_out"]):
        if each is not None:
            each["light"].pop("file")  # what it was called changes nothing
    parameters = settings | {"corner_nm": list(corner_nm), "voxel_nm": list(coarse.voxel_nm)}
    return Stage(
        f"registration/{planned.name}", VERSION, inputs, (Output(planned.path),), parameters,
        compute, subjects=WHOLE,
    )  # fmt: skip


def specimen_corner(dataset: Dataset) -> tuple[float, float, float]:
    """Return where the corner of a dataset's first voxel lies, nm."""
    return corner_of(dataset.offset_nm, dataset.voxel_size_nm)
