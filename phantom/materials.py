"""Materials of voxels, finer than the annotated ids, and the ids that are built from them.

The rasteriser writes materials; the 37 fine ids of Heinrich et al., Nature 599 (2021) follow from
them through a table, and the overlapping super classes from those (``kernels/schema``).  A crista
and the vesicles inside an endosome are materials of their own, because they are stained, but belong
to the lumen of their organelle, as annotators drew them.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Materials(NamedTuple):
    """What fills a voxel; a tuple and no enumeration, because compiled code returns the numbers."""

    ECS: int = 0
    PM: int = 1
    CYTOSOL: int = 2
    MITO_OUTER: int = 3
    MITO_SPACE: int = 4
    MITO_INNER: int = 5
    MATRIX: int = 6
    CRISTA_MEMBRANE: int = 7
    CRISTA_SPACE: int = 8
    NUCLEOID: int = 9
    GOLGI_MEMBRANE: int = 10
    GOLGI_LUMEN: int = 11
    VESICLE_MEMBRANE: int = 12
    VESICLE_LUMEN: int = 13
    MVB_MEMBRANE: int = 14
    MVB_LUMEN: int = 15
    ILV_MEMBRANE: int = 16
    ILV_LUMEN: int = 17
    LYSO_MEMBRANE: int = 18
    LYSO_LUMEN: int = 19
    LD_MEMBRANE: int = 20
    LD_LUMEN: int = 21
    ER_MEMBRANE: int = 22
    ER_LUMEN: int = 23
    ERES_MEMBRANE: int = 24
    ERES_LUMEN: int = 25
    NE_MEMBRANE: int = 26
    NE_LUMEN: int = 27
    PORE_OUT: int = 28
    PORE_IN: int = 29
    HCHROM: int = 30
    NHCHROM: int = 31
    ECHROM: int = 32
    NECHROM: int = 33
    NUCLEOPLASM: int = 34
    NUCLEOLUS: int = 35
    TUBULE_OUT: int = 36
    CENTROSOME: int = 37
    DISTAL: int = 38
    SUBDISTAL: int = 39
    RIBOSOME: int = 40
    TUBULE_IN: int = 41


MATERIAL = Materials()
# The fine id of each material, in the order of `Materials`.
FINE = np.array([
    1, 2, 35, 3, 3, 3, 4, 4, 4, 5, 6, 7, 8, 9, 10, 11, 11, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 36,
], np.uint8)  # fmt: skip
FINE.setflags(write=False)


class Kind(IntEnum):
    """Organelle of a primitive; the rasteriser visits them in this order."""

    ER = 0
    PORE = 1
    NUCLEOLUS = 2
    ERES = 3
    PM = 4  # microvilli of the plasma membrane
    MITO = 5
    GOLGI = 6
    VESICLE = 7
    MVB = 8
    LYSOSOME = 9
    LD = 10
    TUBULE = 11
    CENTROSOME = 12
