"""Where the watcher lands chunks: a client of a server, or a store in this process."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from numpy.typing import NDArray

from fibstream.core.grid import Index


class DatasetInfo(Protocol):
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
    def voxel_size_nm(self) -> tuple[float, float, float]:
        """The edges of a voxel."""

    @property
    def offset_nm(self) -> tuple[float, float, float]:
        """Where the centre of the first voxel lies."""

    @property
    def downsample(self) -> Index:
        """Voxels of the data along one of the dataset's."""

    @property
    def absent_value(self) -> float | None:
        """The declared value of what was never imaged."""

    @property
    def absent_mask(self) -> bool:
        """Whether a mask of it lands."""

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
