"""The 37 fine classes, the super classes that networks predict, and how their losses belong."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse

# Names of the fine ids 1 to 37, in their order; the id 0 is a voxel that nobody annotated.
FINE_NAMES = (
    "extracellular space", "plasma membrane", "mitochondrial membrane", "mitochondrial lumen",
    "mitochondrial DNA", "Golgi membrane", "Golgi lumen", "vesicle membrane", "vesicle lumen",
    "endosome membrane", "endosome lumen", "lysosome membrane", "lysosome lumen",
    "lipid droplet membrane", "lipid droplet lumen", "ER membrane", "ER lumen",
    "ER exit site membrane", "ER exit site lumen", "nuclear envelope membrane",
    "nuclear envelope lumen", "nuclear pore outside", "nuclear pore inside", "heterochromatin",
    "nucleolus-associated heterochromatin", "euchromatin", "nucleolus-associated euchromatin",
    "nucleoplasm", "nucleolus", "microtubule outside", "centrosome", "distal appendage",
    "subdistal appendage", "ribosome", "cytosol", "microtubule inside", "nucleus, not subdivided",
)  # fmt: skip
FINE_IDS = len(FINE_NAMES)
GENERIC_NUCLEUS = 37  # the whole inside of a nucleus, where its parts are not annotated


@dataclass(frozen=True, slots=True)
class SuperClass:
    """A class that a network predicts: the union of fine ids.

    Attributes
    ----------
    ids
        Fine ids.
    generic
        The fine id that stands for all others together; None without one.
    balance
        The class whose weights its loss takes over; None where it has its own.
    separate
        Whether annotators drew it in a volume of its own, ``labels/NAME``, because it overlaps
        others.
    thin_nm
        In that volume it is drawn that much too thin: this is added to its distances.
    """

    ids: tuple[int, ...]
    generic: int | None = None
    balance: str | None = None
    separate: bool = False
    thin_nm: float = 0.0


def _of(*ids: int, balance: str | None = None) -> SuperClass:
    return SuperClass(ids, balance=balance)


# In the order of the paper's networks (CNectome, hierarchy.py). The cytosol is the rest of a cell:
# it has fine id 35, and no network predicts it, so that 35 of these are classes of networks.
SUPER: Mapping[str, SuperClass] = MappingProxyType({
    "ecs": _of(1), "plasma_membrane": _of(2), "mito": _of(3, 4, 5),
    "mito_membrane": _of(3, balance="mito"), "mito_DNA": _of(5, balance="mito"),
    "golgi": _of(6, 7), "golgi_membrane": _of(6), "vesicle": _of(8, 9),
    "vesicle_membrane": _of(8, balance="vesicle"), "MVB": _of(10, 11),
    "MVB_membrane": _of(10, balance="MVB"), "lysosome": _of(12, 13),
    "lysosome_membrane": _of(12, balance="lysosome"), "LD": _of(14, 15),
    "LD_membrane": _of(14, balance="LD"), "er": _of(16, 17, 18, 19, 20, 21, 22, 23),
    "er_membrane": _of(16, 18, 20, balance="er"), "ERES": _of(18, 19),
    "ERES_membrane": _of(18, balance="ERES"),
    "nucleus": SuperClass((*range(20, 30), GENERIC_NUCLEUS), generic=GENERIC_NUCLEUS),
    "nucleolus": SuperClass((29,), separate=True), "NE": _of(20, 21, 22, 23),
    "NE_membrane": _of(20, 22, 23, balance="NE"), "nuclear_pore": _of(22, 23),
    "nuclear_pore_out": _of(22, balance="nuclear_pore"), "chromatin": _of(24, 25, 26, 27),
    "NHChrom": _of(25), "EChrom": _of(26), "NEChrom": _of(27), "microtubules": _of(30, 36),
    "microtubules_out": _of(30, balance="microtubules"),
    "centrosome": SuperClass((31,), separate=True, thin_nm=2.0), "distal_app": _of(32),
    "subdistal_app": _of(33), "ribosomes": SuperClass((34,), separate=True, thin_nm=8.0),
    "cytosol": _of(35),
})  # fmt: skip
PREDICTED = tuple(name for name in SUPER if name != "cytosol")  # the 35
# Classes that others are part of: their distance is the largest of these, in this order, so that
# the microtubules take the centrosome as it was drawn (train_cell_generic.py of the paper).
COMBINED: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "microtubules_out": ("microtubules_out", "centrosome"),
    "microtubules": ("microtubules", "centrosome"),
    "centrosome": ("distal_app", "subdistal_app", "centrosome"),
})  # fmt: skip


def super_class(name: str) -> SuperClass:
    """Return a super class; raise WrongUse for an unknown name."""
    if name not in SUPER:
        raise WrongUse(f"class {echo(name)}: expected one of {', '.join(SUPER)}")
    return SUPER[name]


def members(labels: NDArray[np.uint8], name: str) -> NDArray[np.bool_]:
    """Return where fine ids, ``(z, y, x)`` uint8, belong to a super class; classes overlap."""
    table = np.zeros(256, np.bool_)
    table[list(super_class(name).ids)] = True
    return table[labels]
