"""What the results of a dataset follow from, as digests that events carry. Pure.

An event in a log outlives the pipeline under which it was published. The digest shows whether it
is of the pipeline that the dataset has now.
"""

from collections.abc import Mapping
from typing import Any

from .dataset import Dataset
from .keys import canonical, digest


def pipeline_rule(dataset: Dataset) -> str:
    """Return the digest of a dataset's record but its extent in z, which the seal sets."""
    return digest(canonical(dataset.model_dump(mode="json", exclude={"shape"})))


def object_rules(dataset: Dataset) -> Mapping[str, str]:
    """Return, by organelle, the digest of all in the record that its objects follow from.

    Another organelle, or a prediction that it does not read, changes nothing of it.
    """
    grey = {
        "chunk", "contrast", "invert", "absent_value", "absent_mask", "voxel_size_nm",
        "incarnation",
    }  # fmt: skip
    common = dataset.model_dump(mode="json", include=grey)
    return {
        organelle.name: digest(
            canonical([organelle.name, common, _read_by(dataset, organelle.name)])
        )
        for organelle in dataset.organelles
    }


def _read_by(dataset: Dataset, name: str) -> list[Any]:
    """Return an organelle and all that it is made of, each as in the record, by name."""
    organelles = {organelle.name: organelle for organelle in dataset.organelles}
    predictions = {prediction.name: prediction for prediction in dataset.predictions}
    models = {model.name: model for model in dataset.models}
    found: dict[tuple[str, str], Any] = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in organelles and ("organelle", each) not in found:
            found["organelle", each] = organelles[each]
            waiting += organelles[each].inputs.values()
        # A role takes one or the other: where both have the name, both count.
        if each in predictions:
            found["prediction", each] = predictions[each]
            model = models.get(predictions[each].model)
            if model is not None:
                found["model", model.name] = model
    return [[*key, found[key].model_dump(mode="json")] for key in sorted(found)]
