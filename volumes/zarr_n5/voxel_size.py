"""The axes and voxel size of an array, from the attributes of a hierarchy.

Four kinds of metadata, the most trusted first:

1. ``multiscales`` of a group that names the array: OME-NGFF (axes, units, scale; a translation does
   not change the size), or OpenOrganelle's ``transform`` of each level;
2. ``transform`` of the array: axes, units, scale, by name;
3. ``pixelResolution`` (N5 viewer; x first in any store) and ``resolution`` (COSEM, Paintera,
   gunpowder; in the store's order, nanometres where no unit is given) of the array, or n5-ij's
   ``pixelWidth``, ``pixelHeight``, ``pixelDepth`` with ``pixelUnit``;
4. the same of the group, for its full level, times the factors of the level.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fibstream.core.echo import echo
from fibstream.volumes.lengths import Lengths, Stated, combine, statement

from .axes import (
    ZYX,
    ArrayMetadata,
    Attributes,
    ParentGroup,
    as_mapping,
    axes_of,
    finest_level,
    level_path,
    levels_of,
    ngff_axes,
    ngff_names,
)

# The programs that write ``resolution`` without a unit mean nanometres; a number below this is
# micrometres or a mistake: half a nanometre is less than any electron microscope's voxel.
LEAST_NM = 0.5
_BDV = re.compile(r"(^|/)timepoint[0-9]+/s[0-9]+$")


@dataclass(frozen=True)
class Description:
    """The axes and voxel size of an array."""

    axes: tuple[str, ...] | None  # in C order; None: the last three are (z, y, x)
    lengths: Lengths
    notes: tuple[str, ...] = ()


def describe(array: ArrayMetadata) -> Description:
    """Return axes and voxel size; raises WrongUse as ``axes_of``."""
    axes = axes_of(array)
    statements = [*_of_levels(array), *_of_array(array, axes)]
    return Description(axes, combine(statements), tuple(_notes(array)))


def _notes(array: ArrayMetadata) -> Iterator[str]:
    """Yield what is unusual: levels not in their order, axes of N5 in the other order."""
    for image, level in levels_of(array):
        first, own = (level_path(each) for each in (image["datasets"][0], level))
        if own != first and own == finest_level(image):
            yield f"its levels begin with {first}, which is coarser: the finest, {own}, is read"
    transform = as_mapping(array.attributes.get("transform"))
    names = transform.get("axes")
    axes = [str(axis).lower() for axis in names][-3:] if isinstance(names, list) else []
    order = transform.get("order") or "C"  # the default of cellmap-schemas
    if array.x_first and axes and axes != list(ZYX if order == "C" else ZYX[::-1]):
        yield (
            f"its transform has the axes {', '.join(axes)} in the order {order}; "
            "the sizes are taken by name, the voxels x first as N5 lists them"
        )


# -- sizes -----------------------------------------------------------------------------------------


def _of_levels(array: ArrayMetadata) -> Iterator[Stated]:
    for image, level in levels_of(array):
        if "coordinateTransformations" in {*image, *level}:
            yield _of_ngff(image, level)
        if "transform" in level:
            yield _of_transform("multiscales", level["transform"])


def _of_ngff(image: Mapping[str, Any], level: Mapping[str, Any]) -> Stated:
    """Return the product of all scales, of the level and of the image, as a statement."""
    where, axes = "multiscales", ngff_axes(image)
    steps = [step for holder in (level, image) for step in _steps(holder)]
    scales = [step.get("scale") for step in steps if step.get("type") == "scale"]
    if not scales:
        return Stated(where, None, "it has no scale")
    if not all(isinstance(scale, list) and len(scale) == len(axes) for scale in scales):
        return Stated(where, None, f"its scale has not one number for each of {len(axes)} axes")
    columns = list(zip(*scales, strict=True))
    if bad := [n for column in columns for n in column if not isinstance(n, int | float) or n <= 0]:
        return Stated(where, None, f"its scale holds {echo(bad[0], 40)}")
    sizes = []
    for column in columns:
        product = 1.0
        for factor in column:
            product *= factor
        sizes.append(product)
    return _by_name(where, ngff_names(image), [axis.get("unit") for axis in axes], sizes)


def _steps(holder: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    steps = holder.get("coordinateTransformations")
    return [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []


def _of_transform(where: str, transform: object) -> Stated:
    stated = as_mapping(transform)
    names, units, scale = (stated.get(word) for word in ("axes", "units", "scale"))
    lists = [part for part in (names, units, scale) if isinstance(part, list)]
    if len(lists) != 3 or len({len(part) for part in lists}) != 1:
        return Stated(where, None, "expected axes, units and scale of one length")
    return _by_name(where, [str(name).lower() for name in lists[0]], lists[1], lists[2])


def _by_name(
    where: str, names: Sequence[str], units: Sequence[object], sizes: Sequence[object]
) -> Stated:
    if not set(ZYX) <= set(names):
        return Stated(where, None, f"its axes are {', '.join(names) or 'not named'}")
    places = [names.index(axis) for axis in ZYX]
    return statement(where, [sizes[place] for place in places], [units[place] for place in places])


def _of_array(array: ArrayMetadata, axes: tuple[str, ...] | None) -> Iterator[Stated]:
    own, group = array.attributes, array.parents[0] if array.parents else ParentGroup("", {})
    if "transform" in own:
        yield _of_transform("transform", own["transform"])
    if "pixelWidth" in own:
        edges = [own.get(f"pixel{edge}") for edge in ("Depth", "Height", "Width")]
        yield statement("pixelWidth", edges, [own.get("pixelUnit")] * 3)
    dimensions = array.dimensions
    factors = own.get("downsamplingFactors")
    own_factors = _factors(factors, dimensions)
    yield from _resolutions("", own, own_factors or [1.0] * dimensions, array, axes)
    if (factors := own_factors or _factors_of_level(group, dimensions)) is not None:
        yield from _resolutions(" of the group", group.attributes, factors, array, axes)


def _factors_of_level(group: ParentGroup, dimensions: int) -> list[float] | None:
    """Return the factors of the array's level from the table in its group; those of s0 are 1."""
    number = re.fullmatch(r"s([0-9]{1,3})", group.path)
    if number is None:
        return None
    for word in ("downsamplingFactors", "scales"):
        table = group.attributes.get(word)
        if isinstance(table, list) and int(number[1]) < len(table):
            return _factors(table[int(number[1])], dimensions)
    return [1.0] * dimensions if int(number[1]) == 0 else None


def _factors(stated: object, dimensions: int) -> list[float] | None:
    if not isinstance(stated, list) or len(stated) != dimensions:
        return None
    usable = all(isinstance(n, int | float) and n > 0 for n in stated)
    return [float(n) for n in stated] if usable else None


def _resolutions(
    whose: str, stated: Attributes, factors: list[float], array: ArrayMetadata,
    axes: tuple[str, ...] | None,
) -> Iterator[Stated]:  # fmt: skip
    """Yield the statements of ``pixelResolution`` and ``resolution``, times the factors."""
    units = stated.get("units", stated.get("unit"))
    for word, x_first in (("pixelResolution", True), ("resolution", array.x_first)):
        if (found := stated.get(word)) is not None:
            in_order = factors if array.x_first == x_first else factors[::-1]
            own = _resolution(word + whose, found, units, in_order, axes, x_first=x_first)
            if word == "resolution" and own.unitless and not _is_bdv(array):
                taken = _resolution(word + whose, found, "nm", in_order, axes, x_first=x_first)
                if taken.size_nm is None or min(taken.size_nm) >= LEAST_NM:
                    own = replace(taken, unitless=taken.size_nm is not None)
            yield own


def _is_bdv(array: ArrayMetadata) -> bool:
    """Whether it is an array of BigDataViewer: sizes are in the unit that an XML file states."""
    return any(_BDV.search(group.path) for group in array.parents)


def _resolution(
    where: str, found: object, unit: object, factors: list[float], axes: tuple[str, ...] | None,
    *, x_first: bool,
) -> Stated:  # fmt: skip
    """Return the statement of one value: a list of sizes, or an object with a unit of its own."""
    if isinstance(found, Mapping):
        unit = found.get("unit", unit)
        found = found.get("dimensions")
    if not isinstance(found, list) or not 3 <= len(found) <= len(factors):
        return Stated(where, None, "expected one number for each dimension")
    sizes = [_times(size, factor) for size, factor in zip(found, factors, strict=False)]
    units = unit if isinstance(unit, list) else [unit] * len(sizes)
    if len(units) != len(sizes):
        return Stated(where, None, f"it has {len(units)} units for {len(sizes)} dimensions")
    names = list(axes or ())
    if len(names) != len(sizes):
        names = [*(str(n) for n in range(len(sizes) - 3)), *ZYX]
    return _by_name(where, names[::-1] if x_first else names, units, sizes)


def _times(size: object, factor: float) -> object:
    return size * factor if isinstance(size, int | float) else size
