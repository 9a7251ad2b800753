"""A volume as a network sees it, from the flags that say how."""

from typing import NamedTuple

from fibstream.app.design import parse_contrast
from fibstream.kernels.absent import check_value
from fibstream.services.inference.port import ModelSpec, check_voxel_size
from fibstream.services.inference.seen import View
from fibstream.volumes.masks import with_mask
from fibstream.volumes.sources import Source, open_volume

from .flags import parse_factors
from .progress import mask_read


class RawFlags(NamedTuple):
    """The flags of a volume and of its view, as they were given."""

    path: str
    voxel_size_nm: tuple[float, float, float] | None = None
    contrast: str | None = None
    invert: bool = False
    absent_value: float | None = None
    downsample: str | None = None
    absent_mask: str | None = None


def open_raw(given: RawFlags, spec: ModelSpec) -> Source:
    """Return a volume, with its mask, whose voxels fit a network; raise WrongUse for another."""
    source = open_volume(given.path, kind="raw", voxel_size_nm=given.voxel_size_nm)
    factors = parse_factors(given.downsample)
    source = with_mask(source, given.absent_mask, factors, given.absent_value, mask_read)
    check_voxel_size(spec, source.voxel_size_nm, factors)
    return source


def view_of(given: RawFlags, source: Source) -> View:
    """Return how a network sees a volume; raise WrongUse for values that it cannot have."""
    if given.absent_value is not None:
        check_value(given.absent_value, str(source.dtype))
    window = parse_contrast(given.contrast, source, given.absent_value)
    return View(window, given.invert, given.absent_value)
