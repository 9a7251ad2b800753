"""A registration on disk: ITK transform, OME-NGFF displacement field, landmarks, affine maps."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name its documentation uses

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.services.registration.exchange import bigwarp_text, light_to_specimen
from fibstream.services.registration.port import Image, Registration, Triple
from fibstream.services.registration.sampling import Floats
from fibstream.services.registration.transform import Transform, apply, from_itk, to_itk
from fibstream.services.registration.warp import displacements, triple

log = logging.getLogger(__name__)

FIELD = "displacements"  # the group of the field, beside the other files
FIELD_STEPS_NM = (512.0, 256.0, 128.0, 64.0)  # between its nodes: the first that errs by less
FIELD_ERROR_NM = 10.0
ITK_FILES = ("transform.h5", "transform.tfm")
LANDMARKS, NEUROGLANCER = "landmarks.csv", "neuroglancer.json"
NGFF = "0.6"  # the first version with transforms
SPECIMEN, LIGHT = "specimen", "light"  # the coordinate systems

_SPACE = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]


def write_transform(path: Path, transform: Transform) -> None:
    """Write a transform as ITK has it, in nm (x, y, z): .h5 (HDF5), .tfm or .txt (text)."""
    try:
        sitk.WriteTransform(to_itk(transform), str(path))
    except RuntimeError as error:
        raise WrongUse(f"{path}: cannot be written as an ITK transform") from error


def read_transform(path: Path) -> Transform:
    """Return the transform in a file of ITK; raise WrongUse where it holds none of ours."""
    if not path.is_file():
        raise WrongUse(f"{path}: no such file; expected an ITK transform, .h5 or .tfm")
    try:
        found = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise WrongUse(f"{path}: no ITK transform, or damaged; expected .h5 or .tfm") from error
    try:
        return from_itk(found)
    except WrongUse as error:
        raise WrongUse(f"{path}: {error}") from None


def write_registration(folder: Path, found: Registration, specimen: Image) -> float:
    """Write what other programs read into a folder; return by how much the field errs, nm.

    That folder becomes a Zarr group with the transform as OME-NGFF has it: the displacement field,
    then the affine map.
    """
    for name in ITK_FILES:
        write_transform(folder / name, found.transform)
    places = found.transform.to_light(found.points_nm)
    known = np.isfinite(places).all(axis=1)
    rows = bigwarp_text(places[known], found.points_nm[known])  # moving is the light image
    (folder / LANDMARKS).write_text(rows)
    back = light_to_specimen(found.transform).tolist()
    unit = {axis: [1e-9, "m"] for axis in "zyx"}
    state = {"matrix": back, "inputDimensions": unit, "outputDimensions": unit}
    (folder / NEUROGLANCER).write_text(json.dumps(state, indent=1) + "\n")
    return write_field(folder, found.transform, specimen)


def write_field(folder: Path, transform: Transform, specimen: Image) -> float:
    """Write a displacement field over a specimen and the groups that describe it; see above."""
    for apart_nm in FIELD_STEPS_NM:
        shape, step, first = field_grid(specimen, apart_nm)
        corner = triple_nm(np.array(first) - np.array(step) / 2)
        field = displacements(transform, (step, corner), Box((0, 0, 0), shape))
        error = _error_nm(transform, np.asarray(field, np.float64), (step, first))
        if error <= FIELD_ERROR_NM:
            break
    else:
        log.warning("%s: off by %.0f nm; expected %g nm", FIELD, error, FIELD_ERROR_NM)
    _put_array(folder / FIELD / "s0", np.moveaxis(field, -1, 0))
    axes = [{"name": "d", "type": "displacement", "discrete": True}, *_SPACE]
    placed = {
        "type": "sequence", "input": {"path": "s0"}, "output": {"name": SPECIMEN},
        "transformations": [
            {"type": "scale", "scale": [1.0, *step]},
            {"type": "translation", "translation": [0.0, *first]},
        ],
    }  # fmt: skip
    image = {
        "name": FIELD, "coordinateSystems": [{"name": SPECIMEN, "axes": axes}],
        "datasets": [{"path": "s0", "coordinateTransformations": [placed]}],
    }  # fmt: skip
    _put_group(folder / FIELD, {"version": NGFF, "multiscales": [image]})
    matrix = np.concatenate([transform.matrix, transform.offset[:, None]], axis=1)
    whole = {
        "name": "registration", "type": "sequence",
        "input": {"name": SPECIMEN}, "output": {"name": LIGHT},
        "transformations": [
            {"type": "displacements", "path": FIELD, "interpolation": "linear"},
            {"type": "affine", "affine": matrix.tolist()},
        ],
    }  # fmt: skip
    systems = [{"name": name, "axes": _SPACE} for name in (SPECIMEN, LIGHT)]
    scene = {"coordinateSystems": systems, "coordinateTransformations": [whole]}
    _put_group(folder, {"version": NGFF, "scene": scene})
    return error


def field_grid(specimen: Image, apart_nm: float) -> tuple[Index, Triple, Triple]:
    """Return shape, spacing and first node (nm) of a field whose nodes span a specimen.

    They are at most ``apart_nm`` from each other.
    """
    extent = specimen.extent_nm
    count = np.maximum(np.ceil(extent / apart_nm).astype(np.int64), 1) + 1
    return triple(count), triple_nm(extent / (count - 1)), specimen.corner_nm


def triple_nm(values: Floats) -> Triple:
    """Return three lengths as a tuple."""
    z, y, x = (float(v) for v in values)
    return z, y, x


def _error_nm(transform: Transform, field: Floats, grid: tuple[Triple, Triple]) -> float:
    """Return the largest distance of linear interpolation from the transform, in cells' middles."""
    step, first = (np.array(v) for v in grid)
    cells = [np.arange(n - 1) for n in field.shape[:3]]
    index = np.stack(np.meshgrid(*cells, indexing="ij"), axis=-1).reshape(-1, 3)
    points = first + (index + 0.5) * step
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T
    mean = np.mean([field[tuple((index + c).T)] for c in corners], axis=0)
    miss = apply(transform.matrix, points + mean) + transform.offset - transform.to_light(points)
    return float(np.sqrt((miss * miss).sum(axis=1)).max())


def _put_array(folder: Path, values: np.ndarray[Any, Any]) -> None:
    import tensorstore

    spec = {
        "driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder.absolute()}/"},
        "metadata": {
            "shape": list(values.shape), "data_type": str(values.dtype),
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [min(n, 128) for n in values.shape]},
            },
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {"level": 3}},
            ],
            "dimension_names": ["d", "z", "y", "x"],
        },
    }  # fmt: skip
    tensorstore.open(spec, create=True).result().write(np.ascontiguousarray(values)).result()


def _put_group(folder: Path, ome: dict[str, Any]) -> None:
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (folder / "zarr.json").write_text(json.dumps(document, indent=1) + "\n")
