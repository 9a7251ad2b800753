"""The interface between the viewer and what it shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .state import Objects, Scene

DataUrl = Callable[[str], str]  # from a group to its URL
MeshUrl = Callable[[str, int], str]  # from a group and its number of surfaces to their URL


class Viewable(Protocol):
    """A dataset, a group of arrays or one array."""

    root: Path

    def groups(self) -> list[str]:
        """Return the paths below ``root`` of the arrays and groups that exist now."""

    def scene(self, data: DataUrl, meshes: MeshUrl) -> Scene:
        """Return all layers and where the panels meet."""

    def mesh(self, group: str, number: int) -> bytes | None:
        """Return the surface of an object in Neuroglancer's format; None if it has no row."""

    def objects(self, group: str) -> Objects:
        """Return the objects of a group of labels."""
