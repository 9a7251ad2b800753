"""Images made comparable: coarser voxels, no camera offset, haze or bleaching, local contrast 1.

Filters are ITK's recursive Gaussians: their cost does not grow with the width, and each line of
voxels is filtered by itself, so threads change no bit.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

from .port import Image, Triple

GRID_NM = 128.0  # coarsest voxels of matching
MEAN_NM, SPREAD_NM = 1000.0, 2000.0  # standard deviations of the local mean and contrast
DARK_PERCENT, BRIGHT_PERCENT = 5.0, 99.7
LEAST_SIGMA = 0.3  # voxels: a narrower Gaussian changes nothing

Grey = NDArray[np.float32]


def blurred(voxels: Grey, voxel_nm: Triple, sigma_nm: Triple) -> Grey:
    """Return a volume blurred by a Gaussian of ``sigma_nm`` (z, y, x); edges are continued."""
    image = sitk.GetImageFromArray(np.asarray(voxels, np.float32))
    image.SetSpacing([1.0, 1.0, 1.0])
    for axis, (sigma, voxel) in enumerate(zip(sigma_nm, voxel_nm, strict=True)):
        if sigma / voxel < LEAST_SIGMA or voxels.shape[axis] < 4:  # ITK's recursion needs four
            continue
        smooth = sitk.RecursiveGaussianImageFilter()
        smooth.SetSigma(sigma / voxel)
        smooth.SetDirection(2 - axis)
        smooth.SetNumberOfThreads(1)
        image = smooth.Execute(image)
    return np.asarray(sitk.GetArrayFromImage(image), np.float32)


def coarser(image: Image, voxel_nm: float = GRID_NM) -> Image:
    """Return an image of block means, by the largest whole factors that keep to ``voxel_nm``.

    Voxels beyond the last whole block are dropped; an axis keeps at least four voxels.
    """
    voxels = np.asarray(image.voxels)
    factors = [
        max(1, min(int(voxel_nm / size * (1 + 1e-9)), n // 4))
        for size, n in zip(image.voxel_nm, voxels.shape, strict=True)
    ]
    for axis in (2, 1, 0):  # the first mean makes a large image small before it becomes float
        factor, count = factors[axis], voxels.shape[axis] // factors[axis]
        if factor > 1:
            parts = np.moveaxis(voxels, axis, 0)[: count * factor]
            total = parts[::factor].astype(np.float32)
            for n in range(1, factor):
                total += parts[n::factor]
            voxels = np.moveaxis(total / np.float32(factor), 0, axis)
    voxels = voxels.astype(np.float32)
    z, y, x = (f * v for f, v in zip(factors, image.voxel_nm, strict=True))
    return Image(np.ascontiguousarray(voxels), (z, y, x), image.corner_nm)


def levelled(voxels: Grey, voxel_nm: Triple, name: str) -> Grey:
    """Return a volume with local mean 0 cut at 0, local contrast 1, scaled to 0 to 1.

    The contrast is the deviation within 2 um plus its median, so that empty places stay dark.

    Raises
    ------
    WrongUse
        Nothing stands out anywhere.
    """
    mean = blurred(voxels, voxel_nm, (MEAN_NM,) * 3)
    voxels = voxels - mean
    spread = np.sqrt(blurred(voxels * voxels, voxel_nm, (SPREAD_NM,) * 3).clip(0))
    voxels /= spread + max(float(np.median(spread)), 1e-3 * float(spread.max()), 1e-12)
    top = float(np.percentile(voxels, BRIGHT_PERCENT))
    if not top > 0:
        raise WrongUse(f"{name}: empty, nothing stands out from its surroundings")
    return np.asarray((voxels / np.float32(top)).clip(0, 1), np.float32)


def prepare_light(image: Image, smooth_nm: float, name: str = "light") -> Image:
    """Return a light image on voxels of at most 128 nm, (z, y, x) float32 of 0 to 1.

    The square root of counts above the camera's offset has equal noise everywhere.
    """
    small = coarser(image)
    voxels = small.grey
    voxels = np.sqrt((voxels - np.float32(np.percentile(voxels, DARK_PERCENT))).clip(0) + 0.375)
    if smooth_nm:
        voxels = blurred(voxels, small.voxel_nm, (smooth_nm,) * 3)
    return Image(levelled(voxels, small.voxel_nm, name), small.voxel_nm, small.corner_nm)


def prepare_pseudo(image: Image, name: str = "prediction") -> Image:
    """Return a pseudo-light image on voxels of at most 128 nm, (z, y, x) float32 of 0 to 1."""
    small = coarser(image)
    voxels = levelled(small.grey, small.voxel_nm, name)
    return Image(voxels, small.voxel_nm, small.corner_nm)
