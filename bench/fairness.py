"""How long a small dataset's chunk waits beside one at its worst: ``python -m bench.fairness``.

A host of planners and one of workers, as `serve` runs them, in processes of their own, plan and
work for a small dataset, alone and beside another: with the largest grid, all of it landed; with a
queue of 100,000 tasks; with tasks that fail, each and every one.
"""

import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import Dataset
from fibstream.core.errors import Poison
from fibstream.core.events import Record, Task
from fibstream.core.grid import Index
from fibstream.core.ports import Files
from fibstream.core.service import Capability, Service
from fibstream.core.stage import RAW, Block, Input, Made, Output, Stage
from fibstream.runtime.host import Host, PlannerHost
from fibstream.runtime.loops import drive
from fibstream.runtime.root import Root, bus_path
from fibstream.runtime.settings import Settings
from fibstream.runtime.worker_host import WorkerHost
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.ingest.edges.landing import land

STAGE = "pyramid/bench"
CHUNK = (16, 16, 16)
PAUSE_S = 0.2  # between two chunks of the small dataset
BOUND_S = 3.0  # of the delay at the 95th percentile
LARGE = int(os.environ.get("FAIRNESS_CHUNKS", "1000000"))


def stages(dataset: Dataset, _: Files) -> list[Stage]:
    """Return the one stage: a copy of raw, which fails in the dataset that is called so."""

    def compute(block: Block) -> Mapping[str, Made]:
        if dataset.name == "fails":
            raise Poison("as every task of this dataset does")
        return {"bench": block.patches[RAW].array}

    inputs = (Input(RAW, RAW, "uint8"),)
    return [Stage(STAGE, 1, inputs, (Output("bench", "uint8"),), {}, compute)]


SERVICE = Service("bench", 7999, "copied", (Capability(("pyramid",), stages),), lambda _: None)


def host(root: str, kind: str) -> None:
    """Be a planner or a worker until the parent ends."""
    logging.disable()  # of each task that fails
    settings, opened = Settings.model_validate({}), Root(root)
    made: Host = (
        PlannerHost(SERVICE, opened, settings)
        if kind == "plan"
        else WorkerHost(SERVICE, opened, settings, f"bench:{os.getpid()}")
    )
    parent = os.getppid()
    while os.getppid() == parent:
        if not made.turn():
            made.wait(0.25)


def make(root: Root, name: str, shape: tuple[int | None, int, int], chunk: Index) -> None:
    """Create a dataset."""
    dataset = Dataset(
        name=name, shape=shape, chunk=chunk, dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255),
    )  # fmt: skip
    create(root, DatasetDesign(dataset, {}, []))


def insert(root: Root, name: str, sql: str, rows: list[tuple[object, ...]]) -> None:
    """Write many rows into the bus of a dataset at once."""
    bus = SqliteBus(bus_path(Path(root.url_of(name))))
    with closing(bus):
        bus._db.execute("BEGIN")
        bus._db.executemany(sql, rows)
        bus._db.execute("COMMIT")


def large(root: Root) -> None:
    """As many chunks as may be, all of them in the ledger."""
    edge = round(LARGE ** (1 / 3))
    make(root, "large", (edge,) * 3, (1, 1, 1))
    topic = wire.ledger_topic(RAW)
    indices = root.dataset("large").grid.indices()
    rows: list[tuple[object, ...]] = [
        (topic, wire.record_key("large", RAW, index),
         wire.encode(Record(RAW, index, "ready", "1", {RAW: "0" * 32})))
        for index in indices
    ]  # fmt: skip
    insert(root, "large", "INSERT INTO log (topic, key, value) VALUES (?, ?, ?)", rows)


def flooded(root: Root) -> None:
    """A hundred thousand tasks in the queue, which are no longer wanted."""
    make(root, "flooded", (100_000, 1, 1), (1, 1, 1))
    topic = wire.task_topic(SERVICE.name)
    rows: list[tuple[object, ...]] = [
        (topic, wire.record_key("flooded", STAGE, (z, 0, 0)),
         wire.encode(Task(STAGE, (z, 0, 0), "key", ())))
        for z in range(100_000)
    ]  # fmt: skip
    insert(root, "flooded", "INSERT INTO tasks (topic, key, value) VALUES (?, ?, ?)", rows)


def failing(root: Root) -> None:
    """A dataset of which every task fails."""
    make(root, "fails", (16 * 400, 16, 16), CHUNK)
    with root.open("fails") as (_, site):
        for z in range(400):
            drive(land(site, (z, 0, 0), np.full(CHUNK, 1, np.uint8), "uint8", 1))


def waits(root: Root, chunks: int) -> list[float]:
    """Land chunks in the small dataset one by one; return the seconds until each was copied."""
    found = []
    with root.open("small") as (_, site):
        for z in range(chunks):
            begun = time.monotonic()
            drive(land(site, (z, 0, 0), np.full(CHUNK, z % 250 + 1, np.uint8), "uint8", 1))
            key, after = wire.record_key("small", STAGE, (z, 0, 0)), 0
            while True:
                entries = site.bus.read([wire.ledger_topic(STAGE)], after)
                after = entries[-1].offset if entries else after
                if any(entry.key == key for entry in entries):
                    break
                time.sleep(0.01)
            found.append(time.monotonic() - begun)
            time.sleep(PAUSE_S)
    return found


def measure(chunks: int, beside: Callable[[Root], None] | None) -> tuple[float, float]:
    """Return the median and the 95th percentile of the waits, in seconds."""
    with tempfile.TemporaryDirectory() as folder, closing(Root(folder)) as root:
        make(root, "small", (None, 16, 16), CHUNK)
        if beside is not None:
            beside(root)
        processes = [
            multiprocessing.get_context("spawn").Process(target=host, args=(folder, kind))
            for kind in ("plan", "work")
        ]
        for process in processes:
            process.start()
        try:
            waits(root, 1)  # until both have started
            found = sorted(waits(root, chunks)[1:])
        finally:
            for process in processes:
                process.kill()
                process.join()
    return statistics.median(found), found[int(0.95 * (len(found) - 1))]


def main(chunks: int) -> int:
    """Print the waits alone and beside each other; return 1 when one is beyond the bound."""
    worst = 0.0
    alone = measure(chunks, None)
    print(f"alone: median {alone[0]:.3f} s, p95 {alone[1]:.3f} s", flush=True)
    for beside in (large, flooded, failing):
        median, p95 = measure(chunks, beside)
        worst = max(worst, p95 - alone[1])
        print(f"beside {beside.__name__}: median {median:.3f} s, p95 {p95:.3f} s,"
            f" {p95 / alone[1]:.1f} times alone", flush=True)  # fmt: skip
    print(f"worst delay at p95: {worst:.3f} s, at most {BOUND_S:g} are allowed", flush=True)
    return int(worst > BOUND_S)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
