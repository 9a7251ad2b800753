"""A synthetic FIB-SEM cell with full truth, of which any box can be had by itself.

A :class:`Phantom` is placed once from its :class:`PhantomSpec`; after that every box of labels,
instances, distances or micrograph is a pure function of the specification and the box, so a volume
may be streamed in any order and any tiling.
"""

from .contacts import Contact, contact_truth, merge_contacts
from .phantom import Phantom
from .pieces import Piece, grid_of, piece, pieces
from .spec import Look, PhantomSpec
from .truth import Annotated, Crop, Line, Thing

__all__ = [
    "Annotated", "Contact", "Crop", "Line", "Look", "Phantom", "PhantomSpec", "Piece", "Thing",
    "contact_truth", "grid_of", "merge_contacts", "piece", "pieces",
]  # fmt: skip
