"""What can be shown, and how the viewer asks for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .state import Objects, Scene

Address = Callable[[str], str]  # of a group: its URL
Surfaces = Callable[[str, int], str]  # the same of surfaces, of so many objects


class Shown(Protocol):
    """What can be shown: a dataset, or one array."""

    root: Path

    def groups(self) -> list[str]:
        """Return the paths of what is there now, below ``root``."""

    def scene(self, data: Address, meshes: Surfaces) -> Scene:
        """Return all there is to show."""

    def mesh(self, group: str, number: int) -> bytes | None:
        """Return the surface of an object in Neuroglancer's format; None if it has no row."""

    def objects(self, group: str) -> Objects:
        """Return the objects of a group of labels."""
