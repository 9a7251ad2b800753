"""A light image that a dataset keeps, and a registration of it."""

from typing import Any

import numpy as np

from fibstream.core.arrays import encode_arrays
from fibstream.core.keys import content_hash
from fibstream.services.registration.planned import Asked, Light, planned

VOXELS = np.arange(6**3, dtype=np.uint16).reshape(6, 6, 6)
LIGHT = Light(
    file="sim.tif", hash=content_hash(VOXELS), shape=(6, 6, 6), dtype="uint16",
    voxel_nm=(100.0, 100.0, 100.0), corner_nm=(0.0, 0.0, 0.0),
)  # fmt: skip
KEPT = {LIGHT.path: encode_arrays({"light": VOXELS})}


def registration_of(prediction: str) -> dict[str, Any]:
    """Return a step of a dataset that registers a prediction with it."""
    asked = Asked.model_validate({"name": "sim", "light": "sim.tif", "from": prediction})
    return planned(asked, LIGHT).model_dump(mode="json")
