"""The light image of a phantom, through a transform that is known exactly.

Truth for the registration of light and electron microscopy (CLEM): dyes sit on membranes of the
placed cell and of neighbours around it, are moved by a :class:`Warp`, and become the counts of a
PALM, SIM or confocal stack.
"""

from .field import LightField, Region
from .modality import MODALITIES, Modality
from .prediction import Errors, Network
from .warp import Affine, Warp

__all__ = [
    "MODALITIES", "Affine", "Errors", "LightField", "Modality", "Network", "Region", "Warp",
]  # fmt: skip
