"""The published parameters of agglomeration, one set a cell (Heinrich et al., Nature 2021).

Chosen by eye, on predictions smoothed by 12 nm. Mitochondria of the cells HeLa-1 and choroid plexus
were not agglomerated.
"""

from collections.abc import Mapping
from fractions import Fraction

from .rule import Agglomeration

SMOOTH_NM = 12.0
MITOCHONDRIA: Mapping[str, Agglomeration] = {
    "hela-2": Agglomeration(25, Fraction("0.9")),
    "hela-3": Agglomeration(25, Fraction("0.875")),
    "jurkat": Agglomeration(50, Fraction("0.6")),
    "macrophage": Agglomeration(50, Fraction("0.7")),
}
NUCLEI: Mapping[str, Agglomeration] = {"jurkat": Agglomeration(25, Fraction("0.1"))}
