"""Predictions that are stored at a path: opened, checked, and read as the bytes that land."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import SQUASH_NM
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Halo, Index
from fibstream.volumes.lengths import Size
from fibstream.volumes.sources import Source, open_volume


@dataclass(frozen=True)
class StoredPrediction:
    """The prediction ``name``; with ``labels`` its source holds ids of objects, the truth."""

    name: str
    path: str
    labels: bool
    source: Source

    @property
    def squash_nm(self) -> float:
        """The length that distances are divided by before the tanh."""
        return self.source.squash_nm or SQUASH_NM

    @property
    def argument(self) -> tuple[str, str]:
        """What names it on the command line of the landing process."""
        return "--labels" if self.labels else "--prediction", f"{self.name}={self.path}"

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the bytes of ``box``, ``(z, y, x)``; those of labels are of exact distances."""
        if not self.labels:
            return self.source.read(box)
        # Imported here: an installation of ingest alone has no compiler, and converts no labels.
        from fibstream.kernels.distance import distance_bytes

        whole = Box((0, 0, 0), self.source.shape)
        around = box.grow(self._halo).meet(whole)
        inside: NDArray[Any] = self.source.read(around) > 0
        return distance_bytes(inside, around, box, self.source.voxel_size_nm, self.squash_nm)

    @cached_property
    def _halo(self) -> Halo:
        from fibstream.kernels.distance import byte_halo

        return byte_halo(self.source.voxel_size_nm, self.squash_nm)

    def close(self) -> None:
        """Close the source."""
        self.source.close()


def open_stored(
    name: str, path: str, *, labels: bool, shape: Index, voxel_size_nm: Size
) -> StoredPrediction:
    """Open a prediction, or labels, of a volume; raise WrongUse where shape or size differ."""
    what = f"prediction {name} must fit raw:"
    try:
        source = open_volume(
            path, kind="labels" if labels else "prediction", voxel_size_nm=voxel_size_nm
        )
    except WrongUse as error:
        raise WrongUse(f"{what} {error}") from None
    if source.shape != shape:
        source.close()
        raise WrongUse(f"{what} {source.name} is {source.shape}, expected {shape}")
    return StoredPrediction(name, path, labels, source)


def check_squash(name: str, expected_nm: float, path: str, squash_nm: float | None) -> None:
    """Raise WrongUse for a source of another squash length: its bytes are other distances."""
    found_nm = squash_nm or SQUASH_NM
    if found_nm != expected_nm:
        raise WrongUse(
            f"prediction {name}: {path} has the squash length {found_nm:g} nm; expected "
            f"{expected_nm:g} nm, for which the dataset was made"
        )
