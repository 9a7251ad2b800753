"""A volume that grows along z (``GrowingVolume``), and what the dataset expects of it.

Folders are polled: microscopes write to network shares, which send no notifications of changes.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fibstream.services.ingest.layers import Layer
from fibstream.services.ingest.stability import FileState

NAMES_SHOWN = 3  # in a note: enough to recognise the files


@dataclass(frozen=True)
class ExpectedVolume:
    """What the dataset expects of the volume that arrives."""

    plane: tuple[int, int]  # voxels (y, x)
    dtype: np.dtype[Any]
    voxel_size_nm: tuple[float, float, float]  # (z, y, x)
    depth: int  # planes in a layer: the chunk's edge in z
    extent_z: int | None  # None while it is open
    landed: frozenset[int]  # layers of which every chunk is in the store
    again: bool = False  # land those once more
    offset_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the first voxel's centre


class GrowingVolume(Protocol):
    """A volume that grows along z."""

    def poll(self, now_s: float, *, thorough: bool = False) -> None:
        """Find what is new; with ``thorough`` examine every file for changes.

        Raises WrongUse if it can never become the dataset, OSError if it is away.
        """

    def ready(self, extent_z: int | None) -> list[Layer]:
        """Return the layers that can land now; a short last one needs the extent."""

    def begin(self, layer: Layer) -> None:
        """Prepare for a layer that is about to land."""

    def read(self, layer: Layer, rows: slice) -> NDArray[Any] | None:
        """Return rows of a layer, (z, y, x); None when its files changed since the poll."""

    def add(self, layer: Layer) -> None:
        """Record a layer that has landed."""

    def can_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed or could land now."""

    def is_complete(self, extent_z: int) -> bool:
        """Whether all layers of an extent have landed and none of their files is changing."""

    def problems(self, now_s: float, *, ended: bool = False) -> Mapping[str, str]:
        """Return what a person has to act on: a line by a key that stays the same."""

    def notes(self) -> Mapping[str, str]:
        """Return what is left out and no fault, in the same form."""

    @property
    def count(self) -> int:
        """Planes up to the last that has come."""

    @property
    def changed_s(self) -> float | None:
        """When a poll last found something new."""


def name_list(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def file_state(name: str, found: os.stat_result) -> FileState:
    """Return the state of a file from its ``stat``."""
    return FileState(name, found.st_size, found.st_mtime_ns)
