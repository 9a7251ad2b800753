"""Tables as other programs write them: a profile is one file and one entry.

A profile makes the bytes of a CSV file from a table of objects (`table.finish`), the voxel size and
the place of the first voxel's centre, both (z, y, x) in nm.
"""

from collections.abc import Callable, Mapping

import pyarrow as pa

from fibstream.services.analysis.measures.objects import VoxelSize

from .cellmap import cellmap_csv
from .cosem import cosem_csv

__all__ = ["PROFILES", "Profile"]

Profile = Callable[[pa.Table, VoxelSize, VoxelSize], bytes]

PROFILES: Mapping[str, Profile] = {"cosem": cosem_csv, "cellmap": cellmap_csv}
