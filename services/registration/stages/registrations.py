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
from fibstream.services.registration.planned import Planned

from .coarse import coarse_rows

if TYPE_CHECKING:
    from fibstream.services.registration.port import Image

VERSION = 2  # of search, fit and judgement: raised when any of them gives other bits


def registration_stage(
    dataset: Dataset, planned: Planned, light: Callable[[], "Image"],
    encode: Callable[[Arrays], bytes],
) -> Stage:  # fmt: skip
    """Return the stage of one registration.

    ``light`` reads the image that the dataset keeps, ``encode`` gives the bytes of named arrays.
    """
    rows = coarse_rows(dataset, planned.source)
    coarse = coarse_of(dataset.voxel_size_nm, dataset.chunk)
    corner_nm = specimen_corner(dataset)

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.services.registration.answer import to_arrays
        from fibstream.services.registration.streamed import answer_of, share_of, specimen

        assert block.grid is not None
        known = block.cells[rows.name]
        cells = {index: known[index]["grey"] for index in known}
        em = specimen(cells, block.grid, coarse, corner_nm)
        share = share_of(cells, block.grid, coarse)
        answer = answer_of(em, light(), (planned.microscope, planned.settings), share)
        named = answer._replace(light=planned.light.hash)
        return {planned.path: encode(to_arrays(named))}

    settings: dict[str, Any] = planned.model_dump(mode="json", exclude={"name": True})
    settings["light"].pop("file")  # what it was called changes nothing
    parameters = settings | {"corner_nm": list(corner_nm), "voxel_nm": list(coarse.voxel_nm)}
    return Stage(
        f"registration/{planned.name}", VERSION, (rows,), (Output(planned.path),), parameters,
        compute, subjects=WHOLE,
    )  # fmt: skip


def specimen_corner(dataset: Dataset) -> tuple[float, float, float]:
    """Return where the corner of a dataset's first voxel lies, nm."""
    return corner_of(dataset.offset_nm, dataset.voxel_size_nm)
