"""The pseudo-light image: a predicted membrane as its stain would look in a light microscope."""

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.services.registration.port import Image, check_image
from fibstream.services.registration.prepare import blurred
from fibstream.services.registration.settings import Microscope


def pseudo_light(
    prediction: Image, window: tuple[float, float], microscope: Microscope,
    mask: NDArray[np.bool_] | None = None,
) -> Image:  # fmt: skip
    """Return a prediction as a light microscope would see it, (z, y, x) float32.

    Grey values between ``window`` become 0 to 1 and are cut there; voxels outside ``mask`` (the
    cell), of the prediction's shape, are 0; the point spread blurs the rest (Heinrich et al.
    2021 take 120 to 134 of a prediction at 64 nm).

    Raises
    ------
    WrongUse
        For an image that cannot be registered, a mask of another shape, or nothing in the window.
    """
    check_image(prediction, "prediction")
    low, high = window
    voxels = ((np.asarray(prediction.voxels, np.float32) - low) / (high - low)).clip(0, 1)
    if mask is not None:
        if mask.shape != voxels.shape:
            raise WrongUse(f"mask of {mask.shape} voxels: the prediction has {voxels.shape}")
        voxels = voxels * mask.astype(np.float32)
    if voxels.min() == voxels.max():
        raise WrongUse(
            f"prediction: empty, all of it is {voxels.min():g} in window {low:g},{high:g}"
        )
    z, y, x = microscope.sigma_nm
    shone = blurred(voxels.astype(np.float32), prediction.voxel_nm, (float(z), float(y), float(x)))
    return Image(shone, prediction.voxel_nm, prediction.corner_nm)
