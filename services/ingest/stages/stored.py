"""``stored/<name>``: a prediction that was made elsewhere and lands beside raw.

So lands ``mask``, of what was imaged. They have no function: what lands cannot be recomputed. The
families are declared for their topics.
"""

from fibstream.core.dataset import Dataset
from fibstream.core.service import Capability
from fibstream.core.stage import MASK, Input


def stored(dataset: Dataset) -> list[Input]:
    """Return the predictions of a dataset that no network makes."""
    made_elsewhere = [prediction for prediction in dataset.predictions if not prediction.model]
    return [Input(prediction.stage, prediction.path, "uint8") for prediction in made_elsewhere]


def masks(dataset: Dataset) -> list[Input]:
    """Return the mask of what was imaged, where the dataset declares one: uint8, 0 or 1."""
    return [Input(MASK, MASK, "uint8")] if dataset.absent_mask else []


STORED = Capability(("stored", MASK), lambda _dataset, _files: ())
