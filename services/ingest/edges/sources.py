"""Volumes that land in a dataset: opened with its voxel size and place, averaged as it declares."""

from dataclasses import replace
from typing import Protocol

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.store.gate import FREE, Gate
from fibstream.volumes.lengths import Size, agree, as_size, size_text
from fibstream.volumes.masks import Track, with_mask
from fibstream.volumes.positions import NOWHERE, Place, Placed, check_same_place, position_at
from fibstream.volumes.sources import Source, open_volume


class Acquisition(Protocol):
    """What is known of a dataset into which volumes land: its record, or what a client reads."""

    @property
    def name(self) -> str:
        """As messages call it."""

    @property
    def voxel_size_nm(self) -> Size:
        """The edges of its voxels, (z, y, x)."""

    @property
    def offset_nm(self) -> Size:
        """Where the centre of its first voxel lies."""

    @property
    def downsample(self) -> Index:
        """Voxels of the data along one of its own."""

    @property
    def absent_mask(self) -> bool:
        """Whether a mask of what was imaged lands."""

    @property
    def absent_value(self) -> float | None:
        """What voxels hold that were never imaged."""


def open_raw(
    path: str, dataset: Acquisition, voxel_size_nm: Size | None = None, *,
    mask: str | None = None, track: Track | None = None, gate: Gate = FREE, ended: bool = True,
) -> Source:  # fmt: skip
    """Open a volume as raw of a dataset; the caller closes it.

    A volume that states no voxel size has that of the dataset's data, unless one is given; one that
    states no place lies where the dataset does.

    Raises
    ------
    WrongUse
        If it cannot be read, or states another voxel size or place than the dataset's.
    """
    finer = data_size(dataset)
    if voxel_size_nm is not None and not agree(voxel_size_nm, finer):
        raise WrongUse(
            f"--voxel-size-nm {size_text(voxel_size_nm)}: dataset {dataset.name} has voxels of "
            f"{size_text(dataset.voxel_size_nm)} nm{averaged_text(dataset)}"
        )
    source = open_volume(path, kind="raw", voxel_size_nm=voxel_size_nm or finer, gate=gate)
    try:
        _check_data(source, dataset, masked=mask is not None, ended=ended)
        if source.position is None:  # it lies where the dataset does, and so must a mask
            source = replace(source, position=position_at(_data_offset(dataset), finer))
        source = with_mask(source, mask, dataset.downsample, dataset.absent_value, track)
    except WrongUse:
        source.close()
        raise
    return source


def _check_data(source: Source, dataset: Acquisition, *, masked: bool, ended: bool) -> None:
    """Raise WrongUse for data of another place, or that cannot be averaged as they are."""
    depth = dataset.downsample[0]
    _check_place(source, dataset.name, data_size(dataset), _data_offset(dataset))
    if dataset.absent_mask and not masked and dataset.downsample != (1, 1, 1):
        raise WrongUse(
            f"dataset {dataset.name} has a mask of what was imaged, and is averaged: expected raw "
            "and mask together, by fibstream land --absent-mask"
        )
    if not ended and source.shape[0] % depth:
        raise WrongUse(
            f"{source.name} has {source.shape[0]} slices; expected a multiple of {depth}, of which "
            f"each slice is the mean, while dataset {dataset.name} is open"
        )


def data_size(dataset: Acquisition) -> Size:
    """Return the voxel size (z, y, x) of the data that are averaged to those of a dataset."""
    pairs = zip(dataset.voxel_size_nm, dataset.downsample, strict=True)
    return as_size(edge / factor for edge, factor in pairs)


def _data_offset(dataset: Acquisition) -> Size:
    """Return where the centre of the first voxel of the data lies."""
    moved = zip(dataset.offset_nm, data_size(dataset), dataset.downsample, strict=True)
    return as_size(at - edge * (factor - 1) / 2 for at, edge, factor in moved)


def averaged_text(dataset: Acquisition) -> str:
    """Return how messages say that a dataset is averaged; nothing of one that is not."""
    if dataset.downsample == (1, 1, 1):
        return ""
    factors = " x ".join(map(str, dataset.downsample))
    return f", each the mean of {factors} of {size_text(data_size(dataset))} nm"


def shape_text(shape: Index, factors: Index) -> str:
    """Return how messages give the shape of what lands, which is no file's where it is averaged."""
    shown = ",".join(map(str, factors))
    return f"{shape}" + (f" once averaged by {shown}" if factors != (1, 1, 1) else "")


def slices_text(count: int, depth: int) -> str:
    """Return how messages count slices of a dataset, each the mean of ``depth`` of its data."""
    return f"{count} slices" + (f", each the mean of {depth} of the data" if depth > 1 else "")


def check_dataset_place(source: Placed, dataset: Acquisition) -> None:
    """Raise WrongUse for a volume that states another place than the dataset's."""
    _check_place(source, dataset.name, dataset.voxel_size_nm, dataset.offset_nm)


def _check_place(source: Placed, name: str, voxel_size_nm: Size, offset_nm: Size) -> None:
    if source.position is NOWHERE:
        return
    at = position_at(offset_nm, voxel_size_nm)
    place = Place(f"dataset {name}", source.shape, voxel_size_nm, at)
    try:
        check_same_place(place, source)
    except WrongUse as error:
        raise WrongUse(f"{error}, as create --offset-nm gives it") from None


def check_same_factors(given: Index | None, dataset: Acquisition) -> None:
    """Raise WrongUse where a command averages otherwise than its dataset declares."""
    if given not in (None, dataset.downsample):
        shown, declared = (",".join(map(str, f)) for f in (given, dataset.downsample))
        raise WrongUse(
            f"--downsample {shown}: dataset {dataset.name} was made with --downsample {declared}; "
            "expected the same"
        )
