"""Arrays of a hierarchy apart from their voxels, and which of their axes is which."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fibstream.core.errors import WrongUse

ZYX = ("z", "y", "x")

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Above:
    """A group above an array."""

    path: str  # of the array, from the group
    attributes: Attributes


@dataclass(frozen=True)
class Array:
    """What is known of an array apart from its voxels."""

    name: str  # as messages call it
    attributes: Attributes
    above: Sequence[Above]  # nearest first
    dimensions: int
    dimension_names: Sequence[Any] | None  # of Zarr v3
    x_first: bool  # N5


def multiscales(attributes: Attributes) -> list[Mapping[str, Any]]:
    """Return the multiscale images that a group states; ValueError if they are malformed."""
    for holder in (attributes.get("ome"), attributes):
        stated = holder.get("multiscales") if isinstance(holder, Mapping) else None
        if stated is not None:
            _check_multiscales(stated)
            return list(stated)
    return []


def _check_multiscales(stated: Any) -> None:
    if not isinstance(stated, list):
        raise ValueError("multiscales: expected a list")
    for number, image in enumerate(stated):
        levels = image.get("datasets") if isinstance(image, Mapping) else None
        if not isinstance(levels, list) or not all(
            isinstance(level, Mapping) and isinstance(level.get("path"), str) for level in levels
        ):
            raise ValueError(f"multiscales[{number}]: expected datasets with a path each")


def level_path(level: Mapping[str, Any]) -> str:
    """Return where a level lies, from its group; writers begin it with / and ./ too."""
    return "/".join(part for part in str(level["path"]).split("/") if part not in ("", "."))


def levels_of(array: Array) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the multiscale images that name the array, each with its entry of it."""
    for group in array.above:
        for image in multiscales(group.attributes):
            for level in image["datasets"]:
                if level_path(level) == group.path:
                    yield image, level


def axes_of(array: Array) -> tuple[str, ...] | None:
    """Return the names of an array's axes in C order, z first if they are in the usual order.

    None: no metadata names them, then the last three are (z, y, x). In N5 they may be named by
    ``axes``, in the order of ``dimensions``; in Zarr by the nearest OME-NGFF multiscale group, else
    by ``dimension_names`` (v3), ``_ARRAY_DIMENSIONS`` (xarray), ``transform`` (OpenOrganelle).

    Raises
    ------
    WrongUse
        If OME-NGFF names other axes than those of a volume.
    """
    return _axes_of_n5(array) if array.x_first else _axes_of_zarr(array)


def _axes_of_zarr(array: Array) -> tuple[str, ...] | None:
    for image, _ in levels_of(array):
        if names := ngff_names(image):
            if len(names) != array.dimensions or not set(ZYX) <= set(names):
                raise WrongUse(
                    f"{array.name} has {array.dimensions} dimensions and the axes "
                    f"({', '.join(names)}); expected z, y and x among them"
                )
            return names
    own = array.attributes
    transform = mapping(own.get("transform"))
    turned = -1 if transform.get("order") == "F" else 1
    hints = [array.dimension_names, own.get("_ARRAY_DIMENSIONS"), transform.get("axes")]
    return _usable(hints[0], array) or _usable(hints[1], array) or _usable(hints[2], array, turned)


def _axes_of_n5(array: Array) -> tuple[str, ...] | None:
    """Return the names in ``axes``, which go with ``dimensions`` (neuroglancer, tensorstore)."""
    nearest = [array.attributes, *(group.attributes for group in array.above[:1])]
    stated = (_usable(attributes.get("axes"), array, -1) for attributes in nearest)
    return next(filter(None, stated), None)


def _usable(names: object, array: Array, step: int = 1) -> tuple[str, ...] | None:
    """Return names as axes, if they can be: hints are in use for other things too."""
    if not isinstance(names, list | tuple) or len(names) != array.dimensions:
        return None
    axes = tuple(str(name).lower() for name in names)[::step]
    return axes if set(ZYX) <= set(axes) and len(set(axes)) == len(axes) else None


def ngff_names(image: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of axes: bare in OME-NGFF 0.3, in objects since 0.4, none before."""
    return tuple(str(axis.get("name")).lower() for axis in ngff_axes(image))


def ngff_axes(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the axes of a multiscale image as objects, with units where they have any."""
    axes = image.get("axes")
    axes = axes if isinstance(axes, list) else []
    return [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]


def mapping(value: object) -> Attributes:
    """Return a JSON object; an empty one where something else stands."""
    return value if isinstance(value, Mapping) else {}
