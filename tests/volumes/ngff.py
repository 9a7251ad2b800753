"""OME-NGFF images and Zarr arrays as the tests write them."""

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from .layouts import SIZE, VOLUME

EDGES = dict(zip("zyx", SIZE, strict=True))


DOUBLED = tuple(2 * edge for edge in SIZE)


UNITS = {"nanometer": 1.0, "micrometer": 1e3, "angstrom": 0.1, "millimeter": 1e6, "picometer": 1e-3}


VERSIONS = [2, 3]  # of Zarr: OME-NGFF 0.4 and 0.5


def axes(names: str = "zyx", unit: str | None = "nanometer") -> list[dict]:
    kinds = {"t": {"type": "time", "unit": "second"}, "c": {"type": "channel"}}
    space = {"type": "space"} | ({"unit": unit} if unit else {})
    return [{"name": name} | kinds.get(name, space) for name in names]


def scale(*sizes: float) -> dict:
    return {"type": "scale", "scale": list(sizes)}


def shift(*lengths: float) -> dict:
    return {"type": "translation", "translation": list(lengths)}


def along(names: str, volume: NDArray[Any] = VOLUME) -> NDArray[Any]:
    """The volume with its axes in another order; what is not z, y or x has length one."""
    inner = [name for name in names if name in "zyx"]
    turned = volume.transpose(["zyx".index(name) for name in inner])
    return np.expand_dims(turned, [n for n, name in enumerate(names) if name not in "zyx"])


def put(path: Path, volume: NDArray[Any], version: int = 3, **options: Any) -> Path:
    options = {"chunks": tuple(max(1, n // 2) for n in volume.shape)} | options
    made = zarr.create_array(
        str(path),
        shape=volume.shape,
        dtype=volume.dtype,
        zarr_format=cast("Literal[2, 3]", version),
        **options,
    )
    made[...] = volume
    return Path(path)


def group(path: Path, version: int = 3, bare: bool = False, **attributes: Any) -> Path:
    stated = {"ome": {"version": "0.5"} | attributes} if version == 3 and not bare else attributes
    zarr_format = cast("Literal[2, 3]", version)
    zarr.create_group(str(path), zarr_format=zarr_format, attributes=stated)
    return Path(path)


def image(
    path: Path,
    version: int = 3,
    names: str = "zyx",
    unit: str | None = "nanometer",
    volume: NDArray[Any] = VOLUME,
    steps: list[dict[str, Any]] | None = None,
    outer: list[dict[str, Any]] | None = None,
    **more: Any,
) -> Path:
    """A multiscale image of two levels, with translations as means have them."""
    one = [EDGES.get(name, 1.0) for name in names]
    levels = []
    for number in range(2):
        factors = [2**number if name in "zyx" else 1 for name in names]
        size = [edge * factor for edge, factor in zip(one, factors, strict=True)]
        moved = [edge * (factor - 1) / 2 for edge, factor in zip(one, factors, strict=True)]
        levels.append(
            {
                "path": str(number),
                "coordinateTransformations": steps or [scale(*size), shift(*moved)],
            }
        )
    stated = {"axes": axes(names, unit), "datasets": levels, "name": "em", "version": "0.4"}
    stated |= {"coordinateTransformations": outer} if outer else {}
    group(path, version, multiscales=[stated], **more)
    separator = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if version == 2 else {}
    put(path / "0", along(names, volume), version, **separator)
    put(path / "1", along(names, volume[::2, ::2, ::2]), version)
    return path
