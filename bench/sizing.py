"""What large volumes take, from what a finished run took: ``python -m bench.sizing DATASET``.

``[--days N]``

Of the dataset, which has its log in it and was computed by one run: bytes a voxel by kind of array,
CPU seconds of workers by stage, and how many records and bytes the log has of each chunk. From
these, for 10^9, 10^12 and 10^15 voxels in chunks of the same edge: chunks, datasets (each has at
most a million chunks), records, bytes, core hours, and how many workers and partitions finish
within so many days. Larger chunks take less, since halos are a smaller part of them. A GPU has no
row: none was ever measured.
"""

import argparse
import json
from collections import Counter, defaultdict
from math import ceil, prod
from pathlib import Path
from typing import NamedTuple

from fibstream.app.folder import open_dataset
from fibstream.app.housekeeping import size_text, usage
from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.bus.topics import declared, is_queue
from fibstream.core.grid import MAX_CHUNKS
from fibstream.runtime.root import bus_path

VOLUMES = (10**9, 10**12, 10**15)
DAY_H = 24


class Taken(NamedTuple):
    """What a dataset of so many voxels and chunks took."""

    voxels: int
    chunks: int
    stored: dict[str, int]  # bytes by kind of array
    seconds: dict[str, float]  # of CPU of workers, by stage
    records: int  # of the log
    size: int  # of the log's keys and values in bytes
    tasks: int


def taken(path: Path) -> Taken:
    """Measure a finished dataset."""
    _, dataset = open_dataset(path)
    seconds: defaultdict[str, float] = defaultdict(float)
    records, size, tasks = 0, 0, Counter[str]()
    bus = SqliteBus(bus_path(path), read_only=True)
    for topic in (each.name for each in declared() if not is_queue(each.name)):
        for entry in bus.read([topic], 0, 1 << 30):
            records, size = records + 1, size + len(entry.key.encode()) + len(entry.value)
            if topic == wire.WORK:
                key, _, _, cpu_s = json.loads(entry.value)
                stage = "/".join(key.split("/")[1:-1])  # between dataset and chunk
                seconds[stage] += cpu_s
                tasks[stage] += 1
    bus.close()
    chunks = prod(dataset.grid.count)
    stored = usage(path).groups
    return Taken(prod(dataset.shape), chunks, stored, dict(seconds), records, size, tasks.total())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--days", type=float, default=7.0)
    given = parser.parse_args()
    found = taken(given.dataset)
    per_voxel = {name: size / found.voxels for name, size in found.stored.items()}
    core_s = sum(found.seconds.values()) / found.voxels
    print(f"{found.voxels / 1e6:.1f} M voxels in {found.chunks} chunks")
    for name, each in per_voxel.items():
        print(f"  {name}: {each:.3f} bytes a voxel")
    for stage, each in sorted(found.seconds.items()):
        print(f"  {stage}: {each / found.voxels * 1e9 / 3600:.2f} core hours a Gvoxel")
    size = found.size / found.records
    print(f"  {found.records / found.chunks:.1f} records a chunk of {size:.0f}"
          f" bytes, {found.tasks / found.chunks:.1f} tasks a chunk")  # fmt: skip
    for voxels in VOLUMES:
        chunks = ceil(voxels * found.chunks / found.voxels)
        hours = core_s * voxels / 3600
        workers = ceil(hours / (given.days * DAY_H))
        print(f"{voxels:.0e} voxels: {chunks} chunks, {ceil(chunks / MAX_CHUNKS)} datasets,"
              f" {ceil(chunks * found.records / found.chunks):.2g} records of"
              f" {size_text(chunks * found.size // found.chunks)},"
              f" {size_text(int(voxels * sum(per_voxel.values())))} stored, {hours:.3g} core hours:"
              f" {workers} workers, and as many partitions of each queue, in {given.days:g} days",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
