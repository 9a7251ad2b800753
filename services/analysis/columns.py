"""The meaning of each column of a table; a test compares it with `table.finish`."""

from collections.abc import Mapping

import pyarrow as pa

MEANING = {
    "id": "1 + the smallest global voxel id of the object; never 0",
    "voxels": "number of voxels",
    "volume_nm3": "voxels times the volume of a voxel, in nm3",
    "area_nm2": "voxel faces towards anything else, times their area, in nm2",
    "centroid_z_nm": "mean voxel index along z, from the first voxel, times the voxel size, in nm",
    "centroid_y_nm": "mean voxel index along y, from the first voxel, times the voxel size, in nm",
    "centroid_x_nm": "mean voxel index along x, from the first voxel, times the voxel size, in nm",
    "min_z": "smallest voxel index along z",
    "min_y": "smallest voxel index along y",
    "min_x": "smallest voxel index along x",
    "max_z": "largest voxel index along z, inclusive",
    "max_y": "largest voxel index along y, inclusive",
    "max_x": "largest voxel index along x, inclusive",
    "touches_border": "whether a voxel lies on the border of the volume",
    "raw_mean": "mean raw value of the object's voxels",
}


def described(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Return name, type and meaning of each column of a table."""
    return [(field.name, str(field.type), _meaning(field)) for field in schema]


def _meaning(field: pa.Field) -> str:
    """Return what a column means; one that only some tables have carries that itself."""
    own: Mapping[bytes, bytes] = field.metadata or {}
    return MEANING.get(field.name) or own.get(b"meaning", b"").decode()
