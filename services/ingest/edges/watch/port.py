"""Where the watcher lands chunks: a client of a server, or a store in this process."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from numpy.typing import NDArray

from fibstream.core.grid import Index

from ..sources import Acquisition


class DatasetInfo(Acquisition, Protocol):
    """What the watcher needs to know of a dataset; lengths in voxels, axes (z, y, x)."""

    @property
    def shape(self) -> tuple[int | None, int, int]:
        """Its extent; z is None until it is sealed."""

    @property
    def chunk(self) -> Index:
        """The edges of a chunk."""

    @property
    def dtype(self) -> str:
        """The type of a voxel."""

    @property
    def predictions(self) -> Mapping[str, float]:
        """The predictions that land, each with its length."""

    @property
    def landed(self) -> AbstractSet[Index]:
        """The chunks in the store, those declared absent included."""


class Port(Protocol):
    """Where chunks land: a ``fibstream.Client``, or a store in this process.

    Calls may be repeated; they raise Retryable while the other side is away.
    """

    def info(self, dataset: str) -> DatasetInfo:
        """Describe a dataset and what has landed."""

    def land(
        self, dataset: str, index: Index, voxels: NDArray[Any], *, revision: int | None = None
    ) -> str:
        """Land a chunk; return ``written``, ``unchanged`` or ``older``.

        Without a revision equal content writes nothing and other content replaces it.
        """

    def absent(self, dataset: str, index: Index, *, revision: int | None = None) -> str:
        """Declare that a chunk will never be acquired."""

    def seal(self, dataset: str, extent_z: int | None = None) -> int:
        """Fix the extent in z, and return it."""
