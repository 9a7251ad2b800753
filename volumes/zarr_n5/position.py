"""Where an array lies, from the attributes of a hierarchy.

Three kinds of metadata, the most trusted first:

1. ``multiscales`` of a group that names the array: OME-NGFF (scales and translations of the level
   and of the image; without a translation the array begins at the origin), or ``transform``;
2. ``transform`` of the array (OpenOrganelle): scale and translate, by the names of its axes;
3. ``offset`` beside ``resolution`` or ``pixelResolution`` (COSEM, daisy, gunpowder), in the order
   and unit of the latter, of the array or of the group whose s0 it is.

The first two state the centre of the first voxel, ``offset`` its corner. All are counted in voxels,
so that units do not matter.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fibstream.volumes.positions import NOWHERE, Position

from .axes import ZYX, ArrayMetadata, as_mapping, levels_of, ngff_axes, ngff_names


def position_of(array: ArrayMetadata, axes: tuple[str, ...] | None) -> Position | None:
    """Return where the first voxel lies; None where no attribute states it.

    ``axes`` are the names of the array's axes in C order; None: the last three are (z, y, x).
    """
    return next(filter(None, _stated(array, axes)), None)


def _stated(array: ArrayMetadata, axes: tuple[str, ...] | None) -> Iterator[Position | None]:
    for image, level in levels_of(array):
        if "coordinateTransformations" in {*image, *level}:
            yield _of_ngff(image, level)
        if "transform" in level:
            yield _of_transform(level["transform"])
    if "transform" in array.attributes:
        yield _of_transform(array.attributes["transform"])
    yield _of_offset(array, axes)


def _of_ngff(image: Mapping[str, Any], level: Mapping[str, Any]) -> Position | None:
    """Return the position from all scales and translations, those of the level first."""
    count, names = len(ngff_axes(image)), ngff_names(image)
    scale, shift, scaled = [1.0] * count, [0.0] * count, False
    for holder in (level, image):
        steps = holder.get("coordinateTransformations")
        for step in steps if isinstance(steps, list) else ():
            kind = step.get("type") if isinstance(step, Mapping) else None
            numbers = _numbers(step.get(kind), count) if kind in ("scale", "translation") else None
            if kind == "identity":
                continue
            if numbers is None:
                return None
            if kind == "scale":
                scaled = True
                scale = [a * b for a, b in zip(scale, numbers, strict=True)]
                shift = [a * b for a, b in zip(shift, numbers, strict=True)]
            else:
                shift = [a + b for a, b in zip(shift, numbers, strict=True)]
    return _by_name(names, shift, scale, corner=False) if scaled else None


def _of_transform(transform: object) -> Position | None:
    stated = as_mapping(transform)
    names, scale, shift = (stated.get(word) for word in ("axes", "scale", "translate"))
    if not isinstance(names, list):
        return None
    scales, shifts = _numbers(scale, len(names)), _numbers(shift, len(names))
    if scales is None or shifts is None:
        return None
    return _by_name([str(name).lower() for name in names], shifts, scales, corner=False)


def _of_offset(array: ArrayMetadata, axes: tuple[str, ...] | None) -> Position | None:
    """Return the corner that ``offset`` states, of the array or of the group whose s0 it is."""
    group = array.parents[0] if array.parents else None
    holders = [array.attributes, *([group.attributes] if group and group.path == "s0" else [])]
    stated = next((holder for holder in holders if holder.get("offset")), None)
    if stated is None:
        return None
    for word, x_first in (("resolution", array.x_first), ("pixelResolution", True)):
        sizes = stated.get(word)
        if isinstance(sizes, Mapping):
            sizes = sizes.get("dimensions")
        count = len(sizes) if isinstance(sizes, list) else 0
        scales, shifts = _numbers(sizes, count), _numbers(stated["offset"], count)
        if scales is None or shifts is None:
            continue
        names = list(axes or ())
        if len(names) != count:
            names = [*(str(n) for n in range(count - 3)), *ZYX]
        found = _by_name(names[::-1] if x_first else names, shifts, scales, corner=True)
        if found is not None:
            return found
    return NOWHERE


def _by_name(
    names: Sequence[str], shift: Sequence[float], scale: Sequence[float], *, corner: bool
) -> Position | None:
    if len(names) != len(scale) or not set(ZYX) <= set(names):
        return None
    places = [names.index(axis) for axis in ZYX]
    if any(scale[place] <= 0 for place in places):
        return None
    z, y, x = (shift[place] / scale[place] for place in places)
    return Position((z, y, x), corner) if all(map(math.isfinite, (z, y, x))) else None


def _numbers(stated: object, count: int) -> list[float] | None:
    """Return ``count`` finite numbers, or None."""
    if not isinstance(stated, list) or len(stated) != count:
        return None
    usable = all(isinstance(n, int | float) and math.isfinite(n) for n in stated)
    return [float(n) for n in stated] if usable else None
