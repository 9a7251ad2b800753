"""The metadata of an array in a hierarchy, and the names of its axes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fibstream.core.errors import WrongUse
from fibstream.volumes.formats import Unreadable

ZYX = ("z", "y", "x")
NAME_LENGTH = 20  # of an axis: messages quote it

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class ParentGroup:
    """A group that contains an array, at any depth."""

    path: str  # of the array, from the group
    attributes: Attributes


@dataclass(frozen=True)
class ArrayMetadata:
    """The metadata of an array and of its parent groups."""

    name: str  # in messages
    attributes: Attributes
    parents: Sequence[ParentGroup]  # nearest first
    dimensions: int
    dimension_names: Sequence[Any] | None  # of Zarr v3
    x_first: bool  # N5 lists axes with the fastest first


def multiscales(attributes: Attributes) -> list[Mapping[str, Any]]:
    """Return the multiscale images that a group states; raises Unreadable if malformed."""
    for holder in (attributes.get("ome"), attributes):
        stated = holder.get("multiscales") if isinstance(holder, Mapping) else None
        if stated is not None:
            _check_multiscales(stated)
            return list(stated)
    return []


def _check_multiscales(stated: Any) -> None:
    if not isinstance(stated, list):
        raise Unreadable("multiscales: expected a list")
    for number, image in enumerate(stated):
        levels = image.get("datasets") if isinstance(image, Mapping) else None
        if not isinstance(levels, list) or not all(
            isinstance(level, Mapping) and isinstance(level.get("path"), str) for level in levels
        ):
            raise Unreadable(f"multiscales[{number}]: expected datasets with a path each")


def level_path(level: Mapping[str, Any]) -> str:
    """Return the path of a level from its group, without the / or ./ of some writers."""
    return "/".join(part for part in str(level["path"]).split("/") if part not in ("", "."))


def finest_level(image: Mapping[str, Any]) -> str:
    """Return the path of an image's finest level: the first, unless its scales say otherwise."""
    levels = image["datasets"]
    sizes = [_voxel_volume(level) for level in levels]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes) or not known:
        return level_path(levels[0]) if levels else ""
    return level_path(levels[known.index(min(known))])


def _voxel_volume(level: Mapping[str, Any]) -> float | None:
    """Return the product of a level's scales, in the units of its group."""
    steps = level.get("coordinateTransformations")
    holders = [*(steps if isinstance(steps, list) else []), level.get("transform")]
    scales = [as_mapping(holder).get("scale") for holder in holders]
    product, found = 1.0, False
    for scale in scales:
        if scale is not None:
            if not isinstance(scale, list) or not all(_is_length(n) for n in scale):
                return None
            product, found = product * math.prod(map(float, scale)), True
    return product if found else None


def _is_length(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value < 1e18  # type: ignore[operator]


def levels_of(array: ArrayMetadata) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the multiscale images that list the array, each with its entry for it."""
    for group in array.parents:
        for image in multiscales(group.attributes):
            for level in image["datasets"]:
                if level_path(level) == group.path:
                    yield image, level


def axes_of(array: ArrayMetadata) -> tuple[str, ...] | None:
    """Return the names of an array's axes in C order, or None where no metadata name them.

    Without names the last three are (z, y, x). In N5 they are named by ``axes``, in the order of
    ``dimensions``; in Zarr by the nearest OME-NGFF multiscale group, else by ``dimension_names``
    (v3), ``_ARRAY_DIMENSIONS`` (xarray) or ``transform`` (OpenOrganelle).

    Raises
    ------
    WrongUse
        If OME-NGFF names axes without z, y and x among them.
    """
    return _axes_of_n5(array) if array.x_first else _axes_of_zarr(array)


def _axes_of_zarr(array: ArrayMetadata) -> tuple[str, ...] | None:
    for image, _ in levels_of(array):
        if names := ngff_names(image):
            if len(names) != array.dimensions or not set(ZYX) <= set(names):
                raise WrongUse(
                    f"{array.name} has {array.dimensions} dimensions and the axes "
                    f"({', '.join(names)}); expected z, y and x among them"
                )
            return names
    own = array.attributes
    transform = as_mapping(own.get("transform"))
    step = -1 if transform.get("order") == "F" else 1
    hints = [array.dimension_names, own.get("_ARRAY_DIMENSIONS"), transform.get("axes")]
    return _usable(hints[0], array) or _usable(hints[1], array) or _usable(hints[2], array, step)


def _axes_of_n5(array: ArrayMetadata) -> tuple[str, ...] | None:
    """Return the names in ``axes``, in the order of ``dimensions`` (neuroglancer, tensorstore)."""
    nearest = [array.attributes, *(group.attributes for group in array.parents[:1])]
    stated = (_usable(attributes.get("axes"), array, -1) for attributes in nearest)
    return next(filter(None, stated), None)


def _usable(names: object, array: ArrayMetadata, step: int = 1) -> tuple[str, ...] | None:
    """Return names as axes, or None: these attributes are used for other purposes too."""
    if not isinstance(names, list | tuple) or len(names) != array.dimensions:
        return None
    axes = tuple(str(name).lower() for name in names)[::step]
    return axes if set(ZYX) <= set(axes) and len(set(axes)) == len(axes) else None


def ngff_names(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of axes: bare in OME-NGFF 0.3, in objects since 0.4, none before."""
    return tuple(str(axis.get("name")).lower()[:NAME_LENGTH] for axis in ngff_axes(image))


def ngff_axes(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the axes of a multiscale image as objects, with units where they have any."""
    axes = image.get("axes")
    axes = axes if isinstance(axes, list) else []
    return [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]


def as_mapping(value: object) -> Attributes:
    """Return a JSON object; an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}
