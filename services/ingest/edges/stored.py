"""Predictions that are stored at a path: opened, checked, and read as the bytes that land."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import SQUASH_NM
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Halo, Index
from fibstream.volumes.downsampled import downsampled
from fibstream.volumes.positions import check_same_grid
from fibstream.volumes.sources import Source, open_volume
from fibstream.volumes.zarr_n5.selection import Kind


@dataclass(frozen=True)
class StoredPrediction:
    """The prediction ``name``; with ``labels`` its source holds ids of objects, the truth."""

    name: str
    path: str
    labels: bool
    source: Source
    mask: bool = False  # of labels: they are 0, and 1 or 255
    squash_nm: float | None = None  # that distances of labels are to have

    @property
    def length_nm(self) -> float:
        """The squash length of distances; 0 of a probability."""
        return (self.labels and self.squash_nm) or length_of(self.source)

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
        inside = inside_of(self.source.read(around), mask=self.mask, name=self.source.name)
        return distance_bytes(inside, around, box, self.source.voxel_size_nm, self.length_nm)

    @cached_property
    def _halo(self) -> Halo:
        from fibstream.kernels.distance import byte_halo

        return byte_halo(self.source.voxel_size_nm, self.length_nm)

    def close(self) -> None:
        """Close the source."""
        self.source.close()


def open_stored(
    name: str, path: str, *, labels: bool, raw: Source, factors: Index = (1, 1, 1),
    mask: bool = False, squash_nm: float | None = None,
) -> StoredPrediction:  # fmt: skip
    """Open a prediction, or labels, of a volume; raise WrongUse unless they lie where raw does.

    Where raw is downsampled by ``factors``, they may have its voxels, or those of its source, which
    are then downsampled too. ``mask`` says that labels are a mask, ``squash_nm`` which length
    their distances are to have.
    """
    kind: Kind = "labels" if labels else "prediction"
    wrong = None
    for by in dict.fromkeys(((1, 1, 1), factors)):
        z, y, x = (edge / f for edge, f in zip(raw.voxel_size_nm, by, strict=True))
        try:
            source = downsampled(open_volume(path, kind=kind, voxel_size_nm=(z, y, x)), by)
            check_same_grid(raw, source)
        except WrongUse as error:
            wrong = wrong or error
        else:
            return StoredPrediction(name, path, labels, source, mask, squash_nm)
    raise WrongUse(f"prediction {name} must fit raw: {wrong}")


def inside_of(labels: NDArray[Any], *, mask: bool, name: str) -> NDArray[np.bool_]:
    """Return where labels (z, y, x) are of an object.

    Raises WrongUse where a ``mask`` has a value that is none of 0, 1 and 255.
    """
    if mask and (other := labels[~np.isin(labels, (0, 1, 255))]).size:
        raise WrongUse(f"{name} has the value {other[0]}; expected a mask of 0, and 1 or 255")
    inside: NDArray[np.bool_] = labels != 0
    return inside


def length_of(source: Source) -> float:
    """Return the squash length of a prediction, 50 nm where it states none; 0 of a probability."""
    return (source.squash_nm or SQUASH_NM) if source.is_distance else 0.0


def check_length(name: str, expected_nm: float, path: str, found_nm: float) -> None:
    """Raise WrongUse for a source of another squash length: its bytes mean something else."""
    if found_nm != expected_nm:
        raise WrongUse(
            f"prediction {name}: {path} has {_told(found_nm)}; expected {_told(expected_nm)}, for "
            "which the dataset was made"
        )


def _told(length_nm: float) -> str:
    return f"the squash length {length_nm:g} nm" if length_nm else "a probability"
