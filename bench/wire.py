"""Services: uploads, planners on long ledgers, memory over many chunks, recovery after kills.

Run: ``python bench/wire.py [--bus kafka://HOST:PORT] [--chunks N]``. Uploads are compared with bare
gRPC in the same run, with the same pieces. Without ``--bus`` the embedded bus is measured.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' cluster is how services are started

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.client import Client
from fibstream.client.connection import PIECE
from fibstream.core.dataset import Dataset
from fibstream.core.events import Record
from fibstream.core.fold import NoFold
from fibstream.core.grid import Grid
from fibstream.runtime.loops import drive
from fibstream.runtime.planner import Planner
from fibstream.runtime.root import open_bus
from fibstream.runtime.site import Site
from fibstream.services.inference.service import SERVICE as INFERENCE
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Store
from tests.inference.net import write_net
from tests.support.cluster import Cluster
from tests.support.scene import GEOMETRY, PIPELINE, bright

EDGE = 128  # of an uploaded chunk: 4 MB as uint16
UPLOADS = 24
SMALL = (16, 16, 16)


def cluster(folder: Path, bus: str | None, *services: str, roles: str = "") -> Cluster:
    """Start services with the tests' small network."""
    folder.mkdir(exist_ok=True)
    made = Cluster(folder, bus, *(["--role", roles] if roles else []))
    (made.root / "models").mkdir()
    write_net(made.root / "models" / "bright.onnx", body=bright, channels=1, **GEOMETRY)
    return made.start(*services)


def unique_name(name: str) -> str:
    """Return a new name of a dataset: a broker keeps those of earlier runs."""
    return f"{name}-{time.time_ns()}"


def create(client: Client, name: str, shape, chunk, dtype="uint8", **more) -> None:
    client.create(
        name, shape, voxel_size_nm=(8, 8, 8), chunk=chunk, dtype=dtype,
        pipeline=PIPELINE.format(model="bright"), **more,
    )  # fmt: skip


def bare_speed(chunk: np.ndarray) -> float:
    """Return MB/s of a gRPC server that discards every message."""

    def discard(requests, _context):
        for _ in requests:
            pass
        return b"done"

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handler = grpc.stream_unary_rpc_method_handler(discard)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("bench", {"Put": handler})]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        data = chunk.tobytes()
        times = []
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            put = channel.stream_unary("/bench/Put")
            for _ in range(UPLOADS):
                begun = time.perf_counter()
                put(data[at : at + PIECE] for at in range(0, len(data), PIECE))
                times.append(time.perf_counter() - begun)
        server.stop(None).wait()
    return chunk.nbytes / 1e6 / statistics.median(times)


def print_upload(services: Cluster) -> None:
    """Print the speed of PutChunk over that of bare gRPC, of noise and of what compresses.

    Only the gRPC server runs: the workers would otherwise take the cores.
    """
    rng = np.random.default_rng(1)
    for what, top in (("noise of 8 bits", 256), ("noise of 4 bits", 16)):
        chunks = [rng.integers(0, top, (EDGE,) * 3).astype(np.uint16) for _ in range(4)]
        bare = bare_speed(chunks[0])
        for lanes in (1, 4):
            speed = put_speed(services, unique_name("upload"), chunks, lanes)
            print(f"  upload of {what}, {lanes} at a time: {speed:.0f} MB/s,"
                  f" bare gRPC {bare:.0f}: ratio {speed / bare:.2f}")  # fmt: skip


def put_speed(services: Cluster, name: str, chunks: list[np.ndarray], lanes: int) -> float:
    """Return MB/s of the middle one of three rounds of uploads."""
    times = []
    with services.client() as client, ThreadPoolExecutor(lanes) as pool:
        create(client, name, (3 * UPLOADS * EDGE, EDGE, EDGE), (EDGE,) * 3, "uint16",
               contrast=(0, 255))  # fmt: skip
        for part in range(3):
            begun = time.perf_counter()
            places = range(part * UPLOADS, (part + 1) * UPLOADS)
            list(pool.map(lambda z: client.land(name, (z, 0, 0), chunks[z % 4]), places))
            times.append(time.perf_counter() - begun)
        client.delete(name)
    return UPLOADS * chunks[0].nbytes / 1e6 / statistics.median(times)


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def print_many(services: Cluster, chunks: int) -> None:
    """Land many small chunks; print their rate, and the memory of ingest at a tenth and at the end.

    z stays open and only one row is landed, so that inference and the rest have little to do.
    """
    first = services.processes["ingest"].pid
    pids = {"grpc": first} | {role: pid for pid, role in services.children("ingest").items()}
    voxels = np.random.default_rng(2).integers(0, 255, SMALL).astype(np.uint8)
    samples, begun = [], time.perf_counter()
    with services.client() as client:
        name = unique_name("many")
        create(client, name, (None, 16, 16), SMALL)
        for z in range(chunks):
            client.land(name, (z, 0, 0), voxels)
            if z + 1 in (chunks // 10, chunks):
                samples.append({role: resident(pid) for role, pid in pids.items()})
        print(f"  landed {chunks / (time.perf_counter() - begun):.0f} chunks/s, one client")
        client.delete(name)
    for role in pids:
        print(f"  memory of ingest's {role}: {samples[0][role]:.0f} MB after {chunks // 10} chunks,"
              f" {samples[1][role]:.0f} MB after {chunks}")  # fmt: skip


def print_latency(services: Cluster, chunks: int = 40) -> None:
    """Print p50 and p95 of landed to labels, of chunks that come one by one.

    A chunk's labels need its neighbours: the time counts from the last of those.
    """
    voxels = np.random.default_rng(4).integers(0, 255, SMALL).astype(np.uint8)
    with services.client() as client:
        name = unique_name("latency")
        create(client, name, (chunks * 16, 16, 16), SMALL)
        files = LocalFiles(services.root / f"{name}.zarr")
        store, landed, seen = Store(files, Grid((chunks * 16, 16, 16), SMALL)), {}, {}
        stop = threading.Event()

        def follow() -> None:
            while not stop.is_set() and len(seen) < chunks:
                for z, *_ in store.chunks("labels/mito"):
                    seen.setdefault(z, time.perf_counter())
                stop.wait(0.01)

        watcher = threading.Thread(target=follow)
        watcher.start()
        for z in range(chunks):
            client.land(name, (z, 0, 0), voxels)
            landed[z] = time.perf_counter()
            time.sleep(1.0)  # slower than the pipeline: no queue
        client.wait(name)
        stop.set()
        watcher.join()
        client.delete(name)
    # Borders of objects reach one chunk on, so that the next two landings may be needed.
    late = [seen[z] - landed[min(z + 2, chunks - 1)] for z in range(chunks)]
    # The first ones wait for planners to find the dataset, and for workers to load the network.
    for what, part in (("all", late), ("after the first 4", late[4:])):
        print(f"  landed to labels, {what}: p50 {statistics.median(part):.2f} s,"
              f" p95 {sorted(part)[int(0.95 * len(part))]:.2f} s")  # fmt: skip


def print_recovery(services: Cluster) -> None:
    """Print how long the prediction of a landed chunk takes after a kill."""
    rng = np.random.default_rng(3)
    with services.client() as client:
        name = unique_name("recovery")
        create(client, name, (64 * 16, 16, 16), SMALL)

        def predicted() -> int:
            (answer,) = client.watch(name, once=True)
            return next((p.recorded for p in answer.services if p.service == "inference"), 0)

        place = iter(range(64))

        def land_pair() -> float:
            """Land two neighbours and wait for one more prediction."""
            before, begun = predicted(), time.perf_counter()
            for _ in range(2):
                voxels = rng.integers(0, 255, SMALL).astype(np.uint8)
                client.land(name, (next(place), 0, 0), voxels)
            while predicted() == before:
                time.sleep(0.01)
            return time.perf_counter() - begun

        land_pair()
        print(f"  landed to predicted, nothing killed: {land_pair():.2f} s")
        for role in ("work", "plan", None):
            services.kill("inference", role)
            if role is None:
                services.start("inference")
            print(f"  the same after a kill of {role or 'the whole service'}: {land_pair():.2f} s")
        client.delete(name)


def print_rebuild(folder: Path, url: str | None, chunks: int) -> None:
    """Print how fast a planner of inference reads a ledger of so many chunks."""
    services = folder / "rebuild"
    dataset = Dataset(
        name=f"rebuild-{time.time_ns()}", shape=(16 * chunks // 1000, 16 * 50, 16 * 20),
        chunk=SMALL, dtype="uint8", voxel_size_nm=(8, 8, 8), contrast=(0, 255),
    )  # fmt: skip
    services.mkdir(exist_ok=True)
    bus = open_bus(url or f"sqlite:{services / f'{chunks}.sqlite'}", services, dataset.name)
    keys, begun = list(Grid(dataset.shape, SMALL).indices()), time.perf_counter()
    for stage in ("raw", "prediction/bright"):
        rows = [
            (wire.ledger_topic(stage), wire.record_key(dataset.name, stage, index),
             wire.encode(Record(stage, index, "ready", "f" * 32, {stage: "e" * 32})))
            for index in keys
        ]  # fmt: skip
        if isinstance(bus, SqliteBus):  # one transaction: filling is not what is measured
            bus._db.execute("BEGIN")
            bus._db.executemany("INSERT INTO log (topic, key, value) VALUES (?, ?, ?)", rows)
            bus._db.execute("COMMIT")
        else:
            for row in rows:
                bus.publish(*row)
    filled = time.perf_counter() - begun
    stage_list = INFERENCE.stages(read_record(folder), LocalFiles(services))
    site = Site(dataset.name, Store(LocalFiles(services), dataset.grid), bus)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    planner = Planner(site, "inference", stage_list, NoFold(), lambda: dataset.grid)
    end, tasks = bus.end(wire.ledger_topics()), 0
    while planner.offset < end:
        drive(planner.consume())
    taken = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in planner.frontier.tasks():
        tasks += 1
    named = time.perf_counter() - begun
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    rate = 2 * chunks / taken
    print(f"  ledger of {chunks} chunks ({2 * chunks} entries, filled in {filled:.0f} s): read in"
          f" {taken:.1f} s, {rate:.0f} events/s; {tasks} keys wanted in {named:.1f} s;"
          f" {more:.0f} MB more")  # fmt: skip
    bus.close()


def read_record(folder: Path) -> Dataset:
    """Return the record of a dataset with the tests' network."""
    return read_dataset(LocalFiles(folder / "all" / "root" / "model.zarr"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bus", help="kafka://HOST:PORT; the embedded one by default")
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--ledger", type=int, nargs="*", default=[10**5, 10**6])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"on {given.bus or 'the embedded bus'}")
        services = cluster(folder / "grpc", given.bus, "ingest", roles="grpc")
        try:
            print_upload(services)
        finally:
            services.close()
        services = cluster(folder / "all", given.bus)
        try:
            with services.client() as client:
                create(client, "model", (16, 16, 16), SMALL)
            print_latency(services)
            print_recovery(services)
            print_many(services, given.chunks)
        finally:
            services.close()
        for chunks in given.ledger:
            print_rebuild(folder, given.bus, chunks)


if __name__ == "__main__":
    main()
