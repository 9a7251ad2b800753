"""`fibstream land`: a client that uploads a volume to running services, chunk by chunk."""

import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import cast, get_args

from fibstream.client import Client
from fibstream.client.ingest import Info
from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.services.ingest.edges.landing import Order, ordered
from fibstream.volumes.lengths import Size, agree, size_text
from fibstream.volumes.positions import offset_nm, place_text
from fibstream.volumes.sources import Source, open_volume

from .progress import track

log = logging.getLogger(__name__)

UPLOADS = 4  # at a time: while one is compressed and synced, the next is on its way


def land_volume(
    client: Client, name: str, raw: str, *, order: str, seed: int, limit: int | None, seal: bool,
    voxel_size_nm: Size | None = None,
) -> dict[str, int]:  # fmt: skip
    """Land a volume in an order; return the number of chunks for each outcome.

    A volume that states no voxel size has that of the dataset, unless one is given.

    The dataset must have the volume's extent; while it is open only whole layers of chunks land,
    unless ``seal`` fixes its end first.
    """
    if order not in get_args(Order):
        raise WrongUse(f"--order {order}: expected {', '.join(get_args(Order))}")
    info = client.info(name)
    if voxel_size_nm is not None and not agree(voxel_size_nm, info.voxel_size_nm):
        raise WrongUse(
            f"--voxel-size-nm {size_text(voxel_size_nm)}: dataset {name} has voxels of "
            f"{size_text(info.voxel_size_nm)} nm"
        )
    size = voxel_size_nm or info.voxel_size_nm
    with closing(open_volume(raw, kind="raw", voxel_size_nm=size)) as source:
        check_source(source, info, raw)
        if any(offset_nm(source)):
            log.warning(
                "%s begins at %s; dataset %s will state the origin", raw, place_text(source), name
            )
        if seal and not info.sealed:
            client.seal(name, source.shape[0])
            info = client.info(name)
        z = source.shape[0] if info.sealed else source.shape[0] // info.chunk[0] * info.chunk[0]
        if not z:
            raise WrongUse(
                f"{raw}: not one layer of chunks; give --seal when it is the whole volume"
            )
        shape = (z, *source.shape[1:])
        grid = Grid(shape, clip_chunk(info.chunk, shape) if info.sealed else info.chunk)
        places = list(ordered(grid, cast("Order", order), seed))[:limit]
        landed = _landed(client, name, source, grid, places)
        return dict(Counter(track(landed, "landed", len(places))))


def _landed(
    client: Client, name: str, source: Source, grid: Grid, places: Sequence[Index]
) -> Iterator[str]:
    """Land chunks, some at a time, and yield the outcome of each, in order."""
    pending: deque[Future[str]] = deque()
    with ThreadPoolExecutor(UPLOADS) as pool:
        try:
            for index in places:
                if len(pending) == UPLOADS:
                    yield pending.popleft().result()
                voxels = source.read(grid.box(index))
                pending.append(pool.submit(client.land, name, index, voxels))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def check_source(source: Source, info: Info, raw: str) -> None:
    """Raise WrongUse when a volume is not the one that a dataset was made for."""
    z, y, x = info.shape
    if str(source.dtype) != info.dtype:
        raise WrongUse(f"{raw} is {source.dtype}; the dataset is {info.dtype}")
    if source.shape[1:] != (y, x) or (z is not None and source.shape[0] != z):
        raise WrongUse(f"{raw} is {source.shape}; the dataset is {info.shape}")
