"""Tables as other programs write them: a profile is one file and one entry.

A profile makes the bytes of a CSV file: of a table of objects (`table.finish`), or of contact sites
(`sites`) between organelles with two names; from it, the voxel size and the place of the first
voxel's centre, both (z, y, x) in nm.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pyarrow as pa

from fibstream.services.analysis.measures.objects import VoxelSize

from .cellmap import cellmap_csv, cellmap_sites_csv
from .cosem import cosem_csv, cosem_sites_csv

__all__ = ["PROFILES", "Profile"]


class Profile(NamedTuple):
    """How a program writes its tables."""

    objects: Callable[[pa.Table, VoxelSize, VoxelSize], bytes]
    sites: Callable[[pa.Table, VoxelSize, VoxelSize, tuple[str, str]], bytes]


PROFILES: Mapping[str, Profile] = {
    "cosem": Profile(cosem_csv, cosem_sites_csv),
    "cellmap": Profile(cellmap_csv, cellmap_sites_csv),
}
