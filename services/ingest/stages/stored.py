"""``stored/<name>``: a prediction that was made elsewhere and lands beside raw.

It has no function: what lands cannot be recomputed. The family is declared for its topic.
"""

from fibstream.core.dataset import Dataset
from fibstream.core.service import Capability
from fibstream.core.stage import Input


def stored(dataset: Dataset) -> list[Input]:
    """Return the predictions of a dataset that no network makes."""
    made_elsewhere = [prediction for prediction in dataset.predictions if not prediction.model]
    return [Input(prediction.stage, prediction.path, "uint8") for prediction in made_elsewhere]


STORED = Capability(("stored",), lambda _dataset, _files: ())
