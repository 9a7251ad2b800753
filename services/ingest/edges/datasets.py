"""Datasets below a root: created and sealed."""

import secrets
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fibstream.bus import wire
from fibstream.core.dataset import (
    ACQUISITION,
    MAX_VOXEL_NM,
    MIN_VOXEL_NM,
    RECORD,
    Dataset,
    clip_chunk,
)
from fibstream.core.echo import echo
from fibstream.core.errors import AlreadyExists, NotFound, WrongState, WrongUse
from fibstream.core.events import PipelineChanged, Sealed
from fibstream.core.grid import MAX_AXIS, MAX_CHUNK, Index, check_count, check_edges
from fibstream.core.keys import canonical
from fibstream.core.ports import Files, Generation
from fibstream.core.stage import RAW
from fibstream.runtime.root import Root
from fibstream.runtime.site import Site
from fibstream.services.ingest.stages.stored import masks, stored
from fibstream.store.record import read_generation
from fibstream.store.store import Store
from fibstream.volumes.downsampled import check_factors
from fibstream.volumes.lengths import Size
from fibstream.volumes.positions import check_offset

from .sources import slices_text

COMPARED = (
    *ACQUISITION, "offset_nm", "downsample", "contrast", "invert", "absent_value", "absent_mask",
)  # fmt: skip
DTYPES = ("uint8", "int8", "uint16", "int16")  # what microscopes deliver


class DatasetRequest(NamedTuple):
    """A dataset that a client requests; a field that is None is chosen by the pipeline."""

    name: str
    shape: tuple[int | None, int, int]
    chunk: Index | None
    dtype: str
    voxel_size_nm: tuple[float, float, float]
    contrast: tuple[float, float] | None
    invert: bool
    pipeline: str
    absent_value: float | None = None  # what voxels hold that were never imaged
    absent_mask: bool = False  # a mask of what was imaged lands beside raw
    there: Dataset | None = None  # the dataset that is to have the pipeline, if it is there
    offset_nm: Size = (0.0, 0.0, 0.0)  # of the first voxel's centre
    downsample: Index = (1, 1, 1)  # voxels of the data along one of the dataset's
    backend: str = ""  # of its networks; empty: as the service that creates it is set
    precision: str = ""
    tile: str = ""
    tile_memory_gb: float = 0.0  # what a tile may take; 0: as the service is set
    inference: str = ""  # whoever says how networks are computed; empty: the designer itself


class DatasetDesign(NamedTuple):
    """A dataset that can be created: its record, its networks' files, warnings for the client."""

    dataset: Dataset
    files: Mapping[str, bytes]
    warnings: list[str]


Designer = Callable[[DatasetRequest], DatasetDesign]


def check_request(request: DatasetRequest) -> None:
    """Raise WrongUse, naming the field, where no dataset can be as requested."""
    z, y, x = request.shape
    if not all(0 < edge <= MAX_AXIS for edge in (y, x, z or 1)):
        raise WrongUse(
            f"shape {request.shape}: expected z, y, x from 1 to {MAX_AXIS}; z may be open"
        )
    if request.chunk is not None:
        check_edges(request.chunk, MAX_CHUNK, f"chunk {request.chunk}")
        check_count(request.shape, clip_chunk(request.chunk, request.shape))
    if request.dtype not in DTYPES:
        raise WrongUse(f"dtype {echo(request.dtype)}: expected one of {', '.join(DTYPES)}")
    if not all(MIN_VOXEL_NM <= edge <= MAX_VOXEL_NM for edge in request.voxel_size_nm):
        raise WrongUse(
            f"voxel_size_nm {request.voxel_size_nm}: expected three lengths from"
            f" {MIN_VOXEL_NM:g} to {MAX_VOXEL_NM:g} nm"
        )
    check_offset(request.offset_nm, "offset_nm")
    check_factors(request.downsample, f"downsample {request.downsample}")


def create(root: Root, design: DatasetDesign) -> bool:
    """Write a dataset's record and networks; return whether it was new.

    Raises AlreadyExists when the name is taken by a dataset that differs.
    """
    dataset = design.dataset.model_copy(update={"incarnation": secrets.token_hex(8)})
    root.make(dataset.name)
    files = root.files(dataset.name)
    for path, content in design.files.items():
        files.put(path, content)
    new = files.put(RECORD, canonical(dataset.model_dump(mode="json")), expected=())
    if not new:
        existing = root.dataset(dataset.name)
        dataset = dataset.model_copy(update={"incarnation": existing.incarnation})
        if dataset.shape[0] is None:  # it may have been sealed since
            existing = existing.model_copy(update={"shape": (None, *existing.shape[1:])})
        if existing.model_dump(mode="json") != dataset.model_dump(mode="json"):
            differences = existing.differences(dataset, COMPARED) or ["pipeline is another"]
            raise AlreadyExists(
                f"dataset {echo(dataset.name)} is there: its {'; its '.join(differences)}"
            )
    root.enter(dataset.name)
    return new


def seal(files: Files, site: Site, extent_z: int | None) -> int:
    """Fix the extent in z, announce it, and return it; None means the end of what has landed.

    Raises WrongState when the volume is sealed with another extent, WrongUse when chunks have
    landed at or beyond the end.
    """
    while True:
        record, generation = _read(files, site)
        sealed_z = record.shape[0]
        if sealed_z is None:
            extent = _extent(record, Store(files, record.grid), extent_z)
            data = canonical(record.sealed(extent).model_dump(mode="json"))
            if not files.put(RECORD, data, expected=generation):
                continue
        elif extent_z in (None, sealed_z):
            extent = sealed_z
        else:
            raise WrongState(
                f"dataset {echo(site.dataset)}: sealed at "
                f"{slices_text(sealed_z, record.downsample[0])}, not {extent_z}"
            )
        announce_seal(site, extent)
        return extent


def _read(files: Files, site: Site) -> tuple[Dataset, Generation]:
    try:
        return read_generation(files)
    except NotFound:
        raise NotFound(f"dataset {echo(site.dataset)}: not found") from None


def update_request(there: Dataset, pipeline: str) -> DatasetRequest:
    """Return the request of another pipeline for a dataset that is there."""
    return DatasetRequest(
        there.name, there.shape, there.chunk, there.dtype, there.voxel_size_nm, there.contrast,
        there.invert, pipeline, there.absent_value, there.absent_mask, there, there.offset_nm,
        there.downsample,
    )  # fmt: skip


class Updated(NamedTuple):
    """A dataset with the pipeline that it was given, and whether that is another one."""

    dataset: Dataset
    changed: bool
    warnings: list[str]


def update(files: Files, site: Site, design: Callable[[Dataset], DatasetDesign]) -> Updated:
    """Give a dataset the pipeline that ``design`` makes of its record, and announce it.

    Announced is also a pipeline that is the same: the announcement of the last call may be lost.
    """
    while True:
        there, generation = _read(files, site)
        designed = design(there)
        changed = not designed.dataset.has_pipeline_of(there)
        if changed:
            for path, content in designed.files.items():
                files.put(path, content)
            data = canonical(designed.dataset.model_dump(mode="json"))
            if not files.put(RECORD, data, expected=generation):
                continue  # sealed or updated meanwhile
        key = f"{site.dataset}/pipeline"
        site.bus.publish(wire.ledger_topic("dataset"), key, wire.encode(PipelineChanged()))
        return Updated(designed.dataset, changed, designed.warnings)


def _extent(record: Dataset, store: Store, extent_z: int | None) -> int:
    names = (RAW, *(each.name for each in (*masks(record), *stored(record))))
    chunks = (index for name in names for index in store.chunks(name))
    layers = (i[0] + 1 for i in chunks if record.grid.contains(i) and i[0] < record.grid.layers)
    landed = max(layers, default=0) * record.chunk[0]
    if extent_z is None:
        if not landed:
            raise WrongState(
                f"dataset {echo(record.name)}: nothing has landed; give its extent in z"
            )
        return landed
    if not landed <= extent_z <= MAX_AXIS or extent_z < 1:
        raise WrongUse(
            f"extent of {slices_text(extent_z, record.downsample[0])}: chunks have landed up to"
            f" slice {landed}; expected {max(landed, 1)} to {MAX_AXIS}"
        )
    record.grid.check_growth(((extent_z - 1) // record.chunk[0], 0, 0))
    return extent_z


def announce_seal(site: Site, extent_z: int) -> None:
    """Publish the extent of a sealed dataset."""
    key = f"{site.dataset}/dataset"
    site.bus.publish(wire.ledger_topic("dataset"), key, wire.encode(Sealed(extent_z)))
