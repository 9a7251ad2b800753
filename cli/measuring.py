"""Measuring one volume of labels: the pure functions of analysis, block by block.

Networks are no part of it: what they need takes a second to import.
"""

from pathlib import Path

from fibstream.core.dataset import clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Patch
from fibstream.services.analysis.conventions import HALO
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.profiles import PROFILES
from fibstream.services.analysis.table import finish, to_csv, to_parquet
from fibstream.services.analysis.totals import RowTotals
from fibstream.volumes.positions import check_same_grid, offset_nm
from fibstream.volumes.sources import Source, open_volume

from .outputs import check_file, write_file
from .progress import track

BLOCK: Index = (128, 128, 128)  # voxels read at a time
Voxel = tuple[float, float, float]


def _blocks(source: Source) -> Grid:
    return Grid(source.shape, clip_chunk(BLOCK, source.shape))


def measure_labels(
    labels: str, out: Path, *, raw: str | None, voxel_size_nm: Voxel | None, profile: str | None
) -> int:
    """Write one row per object; return how many there are."""
    if profile not in (None, *PROFILES):
        raise WrongUse(f"--profile {profile}: expected {' or '.join(PROFILES)}")
    if out.suffix not in (".csv", ".parquet") or (profile and out.suffix != ".csv"):
        raise WrongUse(f"--out {out}: expected a name that ends in .csv" + (
            "" if profile else " or .parquet"))  # fmt: skip
    check_file(out, inputs=[labels, raw])
    source = open_volume(labels, kind="labels", voxel_size_nm=voxel_size_nm)
    grey = None
    if raw is not None:
        grey = open_volume(raw, kind="raw", voxel_size_nm=source.voxel_size_nm)
        check_same_grid(source, grey)
    fold, grid = RowTotals(), _blocks(source)
    for index in track(list(grid.indices()), "measured"):
        box, block = grid.box(index), grid.block(index, HALO)
        values = None if grey is None else grey.read(box)
        fold.put(index, measure(Patch(source.read(block), block), box, values))
    table = finish(fold.total(), source.voxel_size_nm, raw=grey is not None)
    if profile:
        data = PROFILES[profile].objects(table, source.voxel_size_nm, offset_nm(source))
    elif out.suffix == ".csv":
        data = to_csv(table)
    else:
        data = to_parquet(table, {"voxel_size_nm": str(list(source.voxel_size_nm))})
    write_file(out, data)
    return int(table.num_rows)
