"""What sources of a process keep: no more than one pool, nor anything of an earlier file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr

from fibstream.core.grid import Box
from fibstream.volumes.sources import open_volume

SOURCES, POOL = 24, 2**26  # of 128 MiB each: twice the pool, and all of them 48 times
# The kernel's ru_maxrss begins at the peak of the process that started this one; VmHWM does not.
READ = """
import sys
from pathlib import Path
from fibstream.core.grid import Box
from fibstream.volumes.zarr_n5 import caching
caching.CACHE_BYTES = POOL
from fibstream.volumes.sources import open_volume
sources = [open_volume(sys.argv[1], kind="any", voxel_size_nm=(8, 8, 8)) for _ in range(SOURCES)]
for source in sources:
    for x in range(0, source.shape[2], 128):
        source.read(Box((0, 0, x), (*source.shape[:2], x + 128)))
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""


def stored(path: Path, array: np.ndarray, chunk: int) -> Path:
    zarr.create_array(path, data=array, chunks=(chunk,) * 3, overwrite=True)
    return path


def test_many_sources_keep_no_more_than_one(tmp_path) -> None:
    path = stored(tmp_path / "a.zarr", np.full((256, 512, 1024), 7, np.uint8), 128)
    code = READ.replace("SOURCES", str(SOURCES)).replace("POOL", str(POOL))
    line = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    assert int(done.stdout) < SOURCES * POOL / 2  # chunks on their way included


def test_a_file_that_is_opened_again_is_read_again(tmp_path) -> None:
    box = Box((0, 0, 0), (8, 8, 8))
    for value in range(20):
        path = stored(tmp_path / "a.zarr", np.full(box.shape, value, np.uint8), 8)
        source = open_volume(str(path), kind="any", voxel_size_nm=(8, 8, 8))
        assert (source.read(box) == value).all()
