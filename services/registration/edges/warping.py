"""Warped light images of registrations: computed from the light that a dataset keeps, or stored.

What a stage found has its light image in the dataset; of what the command wrote the warped light
itself lies there, and its light image does not.
"""

import contextlib
import json
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.arrays import Corrupt
from fibstream.core.dataset import Dataset, clip_chunk
from fibstream.core.echo import cut
from fibstream.core.errors import Damaged, Poison, WrongState
from fibstream.core.grid import MAX_AXIS, Box, Grid, Index
from fibstream.core.ports import Files
from fibstream.services.registration.boxes import CHUNK, Read, Shape
from fibstream.services.registration.coarse import coarse_of
from fibstream.services.registration.planned import Light, registrations_of
from fibstream.services.registration.port import MAX_NM, VOXEL_NM, Image, Triple
from fibstream.services.registration.stages.registrations import specimen_corner
from fibstream.services.registration.warp import warped_block
from fibstream.store.shard import Shard
from fibstream.store.store import Blob, Store
from fibstream.volumes.sources import DTYPES

from .lights import kept
from .stored import LM, Stored, check_registered, read_file

MAX_DOCUMENT = 1 << 20  # bytes of an array's metadata


class Warped(NamedTuple):
    """A warped light image: its full voxels, where they lie, and how they are had."""

    shape: Shape
    dtype: str
    voxel_nm: Triple
    corner_nm: Triple
    read: Read


class Lights:
    """The light image that was used last; one caller at a time."""

    def __init__(self) -> None:
        self._last: tuple[str, Image] | None = None

    def of(self, files: Files, light: Light) -> Image:
        """Return a light image that a dataset keeps; raise Damaged where it is not what it was."""
        key = light.model_dump_json()
        if self._last is None or self._last[0] != key:
            self._last = None  # two of them may be too many
            try:
                self._last = key, kept(files, light)
            except Poison as error:
                raise Damaged(str(error)) from None
        return self._last[1]


def warped_of(files: Files, dataset: Dataset, found: Stored, lights: Lights) -> Warped:
    """Return the warped light image of a registration.

    Raises
    ------
    WrongState
        It is unregistered, or is being made anew with another light image.
    Damaged
        What it needs is not what was written.
    """
    check_registered(found)
    if found.answer is None:
        return _stored(files, found)
    assert found.answer.found is not None  # else it is unregistered
    planned = found.planned
    if planned is None:
        planned = {each.name: each for each in registrations_of(dataset)}.get(found.name)
    if planned is None or planned.light.hash != found.answer.light:
        raise WrongState(
            f"registration {found.name}: it is that of an earlier pipeline; ask again when it has"
            " been made anew"
        )
    light, transform = lights.of(files, planned.light), found.answer.found.transform
    coarse = coarse_of(dataset.voxel_size_nm, dataset.chunk)
    grid = coarse.voxel_nm, specimen_corner(dataset)
    z, y, x = coarse.windows
    shape = (
        None if dataset.shape[0] is None else -(-dataset.shape[0] // z),
        -(-dataset.shape[1] // y), -(-dataset.shape[2] // x),
    )  # fmt: skip

    def read(box: Box) -> NDArray[Any]:
        return warped_block(transform, light, grid, box)

    return Warped(shape, str(light.voxels.dtype), *grid, read)


def _stored(files: Files, found: Stored) -> Warped:
    """Return what the command wrote as `lm/NAME`."""
    name = f"{LM}/{found.name}"
    document = read_file(files, f"{name}/s0/zarr.json", MAX_DOCUMENT)
    if document is None:
        raise Damaged(f"{name}: is not there, though the report is")
    try:
        array = json.loads(document[0])
        shape, dtype = _shape(array["shape"]), array["data_type"]
        place = found.report["em"]
        voxel, corner = (_lengths(place[key]) for key in ("voxel_nm", "corner_nm"))
        if dtype not in DTYPES["raw"] or min(voxel) < VOXEL_NM[0] or list(shape) != place["shape"]:
            raise ValueError("it is not that of the report")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{name}: no warped light image: {cut(str(error))}") from None
    store = Store(files, Grid(shape, clip_chunk(CHUNK, shape)))

    def read(box: Box) -> NDArray[Any]:
        out = np.empty(box.shape, np.dtype(dtype))
        for index in store.grid.covering(box):
            common = store.grid.box(index).meet(box)
            out[common.slices(box.start)] = _cell(store, Blob(name, index, dtype), common)
        return out

    return Warped(shape, dtype, voxel, corner, read)


def _cell(store: Store, blob: Blob, box: Box) -> NDArray[Any]:
    """Return the voxels of a box that lies in one chunk; raise Damaged where they are not there."""
    handle = store.files.open(blob.path)
    if handle is None:
        raise Damaged(f"{blob.path}: is not there")
    assert isinstance(blob.subject, tuple)
    origin = store.grid.box(blob.subject).start
    with contextlib.closing(handle):
        try:
            return Shard(handle, store.layout(blob.dtype)).voxels(box.relative(origin))
        except Corrupt as error:
            raise Damaged(f"{blob.path}: damaged: {error}") from None


def _shape(values: Any) -> Index:
    """Return a shape as a document has it; raise what Python raises where it is none."""
    z, y, x = values
    if not all(type(n) is int and 0 < n <= MAX_AXIS for n in (z, y, x)):
        raise ValueError("shape")
    return z, y, x


def _lengths(values: Any) -> Triple:
    z, y, x = (float(v) for v in values)
    if not all(abs(v) <= MAX_NM for v in (z, y, x)):
        raise ValueError("lengths")
    return z, y, x
