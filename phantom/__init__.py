"""A synthetic FIB-SEM cell with full truth, of which any box can be computed by itself.

A :class:`Phantom` is placed once from its :class:`PhantomSpec`.  After that every box of labels,
instances, distances or micrograph is a pure function of the specification and the box, so a volume
can be streamed in any order and any tiling.
"""

from .chunks import PhantomChunk, grid_of, render_chunk, render_chunks
from .contacts import Contact, contact_truth, merge_contacts
from .phantom import Phantom
from .spec import Look, PhantomSpec
from .truth import Annotated, Crop, Line, Thing

__all__ = [
    "Annotated", "Contact", "Crop", "Line", "Look", "Phantom", "PhantomChunk", "PhantomSpec",
    "Thing", "contact_truth", "grid_of", "merge_contacts", "render_chunk", "render_chunks",
]  # fmt: skip
