"""The measures of a table of objects: one file and one entry each, in the order of the columns.

A measure makes columns from integer totals (`objects.Objects`); tables, their descriptions and the
test of the documentation derive from this list.
"""

from .area import AREA
from .grey import GREY
from .inertia import INERTIA
from .objects import Column, Measure, Objects
from .position import POSITION
from .size import SIZE
from .topology import TOPOLOGY

__all__ = ["MEASURES", "Column", "Measure", "Objects"]

MEASURES: tuple[Measure, ...] = (SIZE, AREA, POSITION, INERTIA, TOPOLOGY, GREY)
