"""A streamed run, end to end: throughput, latency, label writes, memory, sizes.

Run: ``python bench/streaming.py [--workers N ..] [--repeat N] [--bus kafka://HOST:PORT]``. It
streams the sample, repeated to make it larger, and prints ratios against the bare network in the
same run.
"""

import argparse
import json
import secrets
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from fibstream import registry
from fibstream.app.design import design
from fibstream.app.engines import make_engine
from fibstream.app.pipelines import read_pipeline
from fibstream.bus import wire
from fibstream.bus.reading import entries_of
from fibstream.cli.demo import SAMPLE
from fibstream.cli.run import landing, prepare, store_record
from fibstream.cli.runner import Runner
from fibstream.core.dataset import Dataset
from fibstream.core.events import Progress
from fibstream.core.grid import Box
from fibstream.core.ports import Bus
from fibstream.runtime.ledger import ledger
from fibstream.runtime.loops import drive
from fibstream.runtime.root import bus_path, open_bus
from fibstream.runtime.settings import Settings
from fibstream.runtime.site import open_site
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.tiling import tiles
from fibstream.services.ingest.edges.datasets import announce_seal
from fibstream.services.ingest.edges.landing import land, ordered
from fibstream.services.ingest.edges.progress import is_quiet
from fibstream.store.local import LocalFiles
from fibstream.volumes.sources import Source, open_volume

Work = list[tuple[str, float, float]]  # key, begin and end of every output that was computed


def volume(folder: Path, repeat: int) -> Path:
    """Write the sample ``repeat`` times one after the other along z, every second one mirrored."""
    source = open_volume(str(SAMPLE), kind="raw")
    one = source.read(Box((0, 0, 0), source.shape))
    path = folder / f"repeated-{repeat}.npy"
    np.save(path, np.concatenate([one[:: 1 - 2 * (n % 2)] for n in range(repeat)]))
    return path


class Timed:
    """One run with its dataset, the times of its tasks, and the memory of its processes."""

    def __init__(
        self, folder: Path, raw: Path, order: str, workers: int, bus: str | None, *, paced: bool
    ) -> None:  # fmt: skip
        self.out = folder / f"{raw.stem}-{order}-{workers}-{paced}.zarr"
        source = open_volume(str(raw), kind="raw", voxel_size_nm=(10, 10, 10))
        name = f"bench-{secrets.token_hex(4)}"  # others may be on the same bus
        self.design = design(name, source, read_pipeline("mito"))
        self.out.mkdir()
        store_record(LocalFiles(self.out), self.design.dataset, self.design.files)
        self.url = bus or f"sqlite:{bus_path(self.out)}"
        self.bus = open_bus(self.url, self.out, name, private=True)
        prepare(self.bus, name)
        # A paced run has no landing process: its chunks are landed here, one at a time.
        arguments = None if paced else landing(str(raw), order, 1)
        self.started: dict[tuple[int, ...], float] = {}
        self.memory: dict[str, float] = {}
        begun = time.perf_counter()
        settings = Settings(workers=workers)
        runner = Runner(self.out, name, self.bus, self.url, arguments, settings, registry.names())
        try:
            if paced:
                pace = (source, order, runner)
                threading.Thread(target=self.land_slowly, args=pace, daemon=True).start()
            for _ in runner.run():
                self.memory = memory(runner) or self.memory
        finally:
            runner.close()
        self.seconds = time.perf_counter() - begun

    def land_slowly(self, source: Source, order: str, runner: Runner) -> None:
        """Land one chunk, wait until nothing moves, land the next."""
        bus = open_bus(self.url, self.out, self.design.dataset.name)
        dataset, site = open_site(LocalFiles(self.out), bus)
        announce_seal(site, dataset.grid.extent[0])
        wait_until_idle(bus, dataset.name)
        for index in ordered(dataset.grid, order, 1):
            voxels = source.read(dataset.grid.box(index))
            self.started[index] = time.time()
            drive(land(site, index, voxels, dataset.dtype))
            wait_until_idle(bus, dataset.name)
        runner.landed = True

    @property
    def work(self) -> Work:
        """Every output that was computed."""
        entries = entries_of(self.bus, [wire.WORK], self.design.dataset.name)
        return [json.loads(entry.value)[:3] for entry in entries]


def wait_until_idle(bus: Bus, name: str) -> None:
    """Wait until every planner has read the ledger to its end and no task is left."""
    while True:
        events = (wire.decode(e.value) for e in entries_of(bus, [wire.PROGRESS], name))
        found = {e.service: e for e in events if isinstance(e, Progress)}
        if is_quiet(found, registry.names(), bus.end(wire.ledger_topics())):
            return
        bus.wait(0.1)


def memory(runner: Runner) -> dict[str, float]:
    """Return the peak resident memory of each process in MB; nothing unless all are alive."""
    found = {}
    for child in runner._children:
        status = Path(f"/proc/{child.process.pid}/status")
        if child.process.poll() is None and status.exists():
            text = status.read_text()
            if "VmHWM" in text:
                found[child.name] = int(text.split("VmHWM:")[1].split()[0]) / 1024
    return found if len(found) >= 2 * len(registry.names()) else {}


def bare(dataset: Dataset, workers: int) -> float:
    """Return the seconds that the network alone needs for all tiles, one engine a worker."""
    spec = ModelSpec.model_validate(dict(dataset.models[0].spec))
    count = sum(len(tiles(dataset.grid.box(i), spec)) for i in dataset.grid.indices())
    tile = np.random.default_rng(0).integers(0, 255, spec.tile).astype(np.uint8)
    engines = [make_engine(find_model("mito"), 1) for _ in range(workers)]
    times = []
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(7):
            begun = time.perf_counter()
            list(pool.map(lambda engine: engine.infer(tile), engines))
            times.append((time.perf_counter() - begun) / workers)
    return count * statistics.median(times)


def idle_seconds(begin: float, end: float, work: Work) -> float:
    """Return how much of an interval no worker was computing."""
    covered, at = 0.0, begin
    for _, task_begin, task_end in sorted(work, key=lambda w: w[1]):
        start, stop = max(task_begin, at), min(task_end, end)
        if stop > start:
            covered += stop - start
            at = stop
    return end - begin - covered


def latency(run: Timed) -> list[float]:
    """Return, for each landing that completed labels, the seconds to the last of them less work."""
    landed = [*sorted(run.started.values()), float("inf")]
    found = []
    for begin, until in pairwise(landed):
        ends = [w[2] for w in run.work if "/labels/" in w[0] and begin <= w[1] < until]
        if ends:
            found.append(idle_seconds(begin, max(ends), run.work))
    return found


def print_throughput(run: Timed, workers: int) -> None:
    """Print the run's speed over that of its network alone on as many cores."""
    dataset = run.design.dataset
    alone = bare(dataset, workers)
    first = min(begin for key, begin, _ in run.work if "/prediction/" in key)
    span = max(end for _, _, end in run.work) - first
    voxels = np.prod(dataset.grid.extent) / 1e6
    print(f"{voxels:.1f} Mvox, chunk {dataset.chunk}, {workers} workers a service, random order")
    print(f"  bare network {voxels / alone:.3f} Mvox/s")
    print(
        f"  first prediction to last result {voxels / span:.3f} Mvox/s,"
        f" {np.prod(dataset.grid.count) / span:.3f} chunks/s: ratio {alone / span:.2f}"
    )
    print(f"  with start, landing and last reconcile: ratio {alone / run.seconds:.2f}")
    writes = sum("/labels/" in key for key, _, _ in run.work)
    chunks = sum(r.stage.startswith("labels/") for r in ledger(run.bus, dataset.name))
    print(f"  label writes per label chunk {writes / chunks:.2f}")


def print_sizes(run: Timed) -> None:
    """Print the sizes of events and summaries."""
    sizes = defaultdict(list)
    topics = [*wire.ledger_topics(), wire.OBJECTS]
    for entry in entries_of(run.bus, topics, run.design.dataset.name):
        sizes[f"event {entry.topic}"].append(len(entry.value))
    for path in (run.out / "summaries").glob("*/*/*"):
        sizes[f"summary {path.parent.parent.name}"].append(path.stat().st_size)
    for what, lengths in sorted(sizes.items()):
        print(f"  {what}: {statistics.median(lengths):.0f} B median, {max(lengths)} B most")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="several: speed alone")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--bus", help="kafka://HOST:PORT; the embedded one by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = volume(folder, given.repeat), volume(folder, 2 * given.repeat)
        for workers in given.workers:
            run = Timed(folder, small, "random", workers, given.bus, paced=False)
            print_throughput(run, workers)
        if len(given.workers) > 1:
            return
        print_sizes(run)
        waits = latency(Timed(folder, small, "raster", 1, given.bus, paced=True))
        p50, p95 = np.percentile(waits, (50, 95))
        print(f"  landed to labels less compute: p50 {p50:.3f} s, p95 {p95:.3f} s ({len(waits)})")
        twice = Timed(folder, large, "random", workers, given.bus, paced=False)
        for process in sorted(run.memory.keys() & twice.memory.keys()):
            one, two = run.memory[process], twice.memory[process]
            print(f"  memory {process}: {one:.0f} MB, of twice the volume {two:.0f} MB")


if __name__ == "__main__":
    main()
