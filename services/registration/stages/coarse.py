"""``coarse/<prediction>``: a prediction at about 64 nm, cell by cell, as registration reads it."""

from collections.abc import Mapping, Sequence

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.core.service import Capability
from fibstream.core.stage import Block, Input, Made, Output, Stage
from fibstream.core.subject import Lattice
from fibstream.services.registration.coarse import averaged, coarse_of
from fibstream.services.registration.planned import registrations_of


def coarse_rows(dataset: Dataset, name: str) -> Input:
    """Return the averaged cells of a prediction, as the stage that reads them names them."""
    coarse = coarse_of(dataset.voxel_size_nm, dataset.chunk)
    return Input(f"coarse/{name}", f"summaries/coarse/{name}", subjects=Lattice(coarse.edges))


def coarse_stage(dataset: Dataset, name: str) -> Stage:
    """Return the stage that averages a prediction."""
    prediction = dataset.prediction(name)
    coarse = coarse_of(dataset.voxel_size_nm, dataset.chunk)
    source = Input(
        prediction.stage_of(coarse.level), prediction.path, "uint8", level=coarse.level
    )  # fmt: skip
    rows = coarse_rows(dataset, name)

    def compute(block: Block) -> Mapping[str, Made]:
        return {rows.name: {"grey": averaged(block.patches[source.name].array, coarse)}}

    parameters = {"windows": list(coarse.windows), "factors": list(coarse.factors)}
    return Stage(
        rows.stage, 1, (source,), (Output(rows.name),), parameters, compute, subjects=rows.subjects
    )


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    planned = registrations_of(dataset)
    names = dict.fromkeys(source for each in planned for source in each.sources)
    return [coarse_stage(dataset, name) for name in names]


COARSE = Capability(("coarse",), _stages)
