"""Light microscopes: voxels, point spread, light, noise."""

from typing import NamedTuple


class Modality(NamedTuple):
    """How a light microscope sees dyes.

    ``voxel_nm`` is ``(z, y, x)``; ``psf_nm`` the full widths at half maximum of the point spread,
    axial and lateral; ``photons`` what a dye gives in all; ``haze`` how much more, blurred over
    micrometres, comes from out of focus; ``bleach`` the share of brightness that is gone at the
    last slice.  A ``localised`` image is a histogram of positions that were found, so it has
    neither haze nor camera.
    """

    voxel_nm: tuple[float, float, float]
    psf_nm: tuple[float, float]
    photons: float
    haze: float
    bleach: float
    localised: bool = False


# Point spreads as registration studies assume them; the voxels of PALM are
# those of the published COS-7 stack (Heinrich et al. 2021), the others sample their point spread
# three times.  Photons give mitochondria a few hundred counts, as a camera with 16 bits shows them.
MODALITIES = {
    "palm": Modality((104.0, 52.0, 52.0), (60.0, 30.0), 2.0, 0.0, 0.0, localised=True),
    "sim": Modality((125.0, 40.0, 40.0), (300.0, 120.0), 120.0, 0.35, 0.3),
    "confocal": Modality((250.0, 80.0, 80.0), (700.0, 250.0), 60.0, 0.6, 0.4),
}
OFFSET = 100.0  # counts of a dark camera
READ_NOISE = 1.5  # counts, standard deviation
HAZE_NM = (1500.0, 900.0)  # standard deviation of the haze, axial and lateral
STRAY_PER_UM3 = 0.4  # localisations that are no dye
