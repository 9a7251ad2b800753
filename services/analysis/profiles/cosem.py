"""The object tables of Heinrich et al. (Nature 2021)."""

import pyarrow as pa

from fibstream.services.analysis.measures.objects import VoxelSize, whole_edges
from fibstream.services.analysis.table import cell, lines

HEADER = (
    "Object ID,Volume (nm^3),Surface Area (nm^2),COM X (nm),COM Y (nm),COM Z (nm),"
    "MIN X (nm),MIN Y (nm),MIN Z (nm),MAX X (nm),MAX Y (nm),MAX Z (nm),,Total Objects"
)


def cosem_csv(table: pa.Table, voxel_size_nm: VoxelSize, offset_nm: VoxelSize) -> bytes:  # noqa: ARG001
    """Return the table in the columns of the paper, axes in order x, y, z.

    MIN and MAX are voxel index times voxel size; the place of the volume does not count.  The last
    two cells of the first row are an empty one and the number of objects, of every other row two
    empty ones; a table without objects is its header.  The object id is decimal, every other number
    a float as in `table.to_csv`.
    """
    edges, unit = whole_edges(voxel_size_nm)
    names = ["volume_nm3", "area_nm2", *(f"centroid_{axis}_nm" for axis in "xyz")]
    columns = [table.column(name).to_pylist() for name in ("id", *names)]
    for bound in ("min", "max"):
        for axis, edge in zip("xyz", reversed(edges), strict=True):
            indices = table.column(f"{bound}_{axis}").to_pylist()
            columns.append([index * edge / unit for index in indices])
    rows = [",".join(map(cell, row)) + ",," for row in zip(*columns, strict=True)]
    if rows:
        rows[0] += str(len(rows))
    return lines([HEADER, *rows])


def cosem_sites_csv(
    table: pa.Table, voxel_size_nm: VoxelSize, offset_nm: VoxelSize, names: tuple[str, str]
) -> bytes:
    """Return a table of contacts in the paper's columns; ``names`` are those of the organelles."""
    header, *rows = cosem_csv(table, voxel_size_nm, offset_nm).decode().splitlines()
    added = [f"{name} ID" for name in names] + [f"{name} Surface Area (nm^2)" for name in names]
    sides = ("id_a", "id_b", "area_a_nm2", "area_b_nm2")
    of_row = zip(*(table[name].to_pylist() for name in sides), strict=True)
    cells = [added, *([repr(value) for value in row] for row in of_row)]
    found = []
    for line, more in zip([header, *rows], cells, strict=True):
        before, empty, last = line.rsplit(",", 2)
        found.append(",".join([before, *more, empty, last]))
    return lines(found)
