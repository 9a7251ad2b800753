"""What reading and writing add to a network: ``python -m bench.chunk [--rounds N]``.

A volume of real grey values lies in shards on disk, as raw does. A chunk in its middle is read with
its halo, verified, predicted, encoded with its pyramid and put, as a worker does that has read the
chunk before it along x. Figures are medians over rounds of CPU seconds, and the share of the
network in the whole. Cold is reading by a worker that begins. It decodes so many voxels for each of
the chunk's, and one that goes on those that are new.
"""

import argparse
import tempfile
import time
from itertools import product
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import tifffile

from fibstream.core.grid import Grid, Index
from fibstream.core.stage import RAW, Input, Output, Patch
from fibstream.services.inference.backend import AUTO, Wanted
from fibstream.services.inference.edges.engine import make_engine
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.port import Engine
from fibstream.services.inference.seen import View, predict_raw, raw_halo
from fibstream.store.decoded import Decoded
from fibstream.store.local import LocalFiles
from fibstream.store.shard import Stamp
from fibstream.store.store import Store

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "flyem_medulla.tif"
VIEW = View((0.0, 255.0))
MIDDLE, BEFORE = (1, 1, 1), (1, 1, 0)


def landed(folder: Path, chunk: Index) -> tuple[Store, dict[Index, str]]:
    """A dataset of 3 x 3 x 3 chunks of the sample, mirrored to fill it; and their hashes."""
    z, y, x = chunk
    store = Store(LocalFiles(folder), Grid((3 * z, 3 * y, 3 * x), chunk))
    sample = tifffile.imread(SAMPLE)
    short = [(0, max(3 * c - n, 0)) for c, n in zip(chunk, sample.shape, strict=True)]
    whole = np.pad(sample, short, mode="symmetric")
    hashes = {}
    for index in store.grid.indices():
        voxels = np.ascontiguousarray(whole[store.grid.box(index).slices()])
        for blob, data, content in store.encode(
            Output(RAW, "uint8"), voxels, Stamp(RAW, index, "1", "")
        ):
            store.files.put(blob.path, data)
            hashes[index] = content
    return store, hashes


def read(store: Store, hashes: dict[Index, str], engine: Engine, index: Index) -> Patch:
    """A chunk with its halo."""
    source = Input(RAW, RAW, "uint8", raw_halo(engine.spec, VIEW))
    box = store.grid.block(index, source.halo)
    reached = {i: h for i, h in hashes.items() if not store.grid.box(i).meet(box).empty}
    return store.read(source, box, reached)


def going_on(store: Store, hashes: dict[Index, str], engine: Engine) -> Store:
    """The store of a worker that has read the chunk before."""
    found = Store(store.files, store.grid, Decoded())
    read(found, hashes, engine, BEFORE)
    return found


def timed(store: Store, hashes: dict[Index, str], engine: Engine) -> tuple[float, float, float]:
    """CPU seconds of one chunk: reading, network, writing."""
    laps = [time.process_time()]
    patch = read(store, hashes, engine, MIDDLE)
    laps.append(time.process_time())
    found = predict_raw(patch, store.grid.box(MIDDLE), engine, VIEW)
    laps.append(time.process_time())
    output = Output("predictions/mito", "uint8", "mean")
    for blob, data, _ in store.encode(output, found[0], Stamp("prediction", MIDDLE, "k", "")):
        store.files.put(blob.path, data)
    laps.append(time.process_time())
    return laps[1] - laps[0], laps[2] - laps[1], laps[3] - laps[2]


def decoded(store: Store, engine: Engine) -> tuple[float, float]:
    """Voxels of the inner chunks that a chunk is read from, for each of its own: cold, and new."""
    halo = raw_halo(engine.spec, VIEW)
    boxes = [store.grid.block(index, halo) for index in (MIDDLE, BEFORE)]
    inner = store.layout("uint8").inner
    cells = [
        set(product(*(range(a // e, -(-b // e)) for a, b, e in zip(*box, inner, strict=True))))
        for box in boxes
    ]
    edge = prod(inner) / prod(store.grid.chunk)
    return len(cells[0]) * edge, len(cells[0] - cells[1]) * edge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for backend, tile, edge in (
        ("onnxruntime", "model", 64), (AUTO, "model", 64), (AUTO, "model", 128), (AUTO, AUTO, 192)
    ):  # fmt: skip
        engine = make_engine(find_model("mito"), 1, Wanted(backend, tile=tile))
        with tempfile.TemporaryDirectory() as folder:
            store, hashes = landed(Path(folder), (edge, edge, edge))
            cold, laps = [], []
            for _ in range(rounds + 1):
                begun = time.process_time()
                read(store, hashes, engine, MIDDLE)
                cold.append(time.process_time() - begun)
                laps.append(timed(going_on(store, hashes, engine), hashes, engine))
            reading, network, write = (median(lap[k] for lap in laps[1:]) for k in range(3))
            share = median(lap[1] / sum(lap) for lap in laps[1:])
            every, new = decoded(store, engine)
            print(f"{engine.profile['runtime']}, tile {engine.profile['tile']}, chunk {edge}: read"
                  f" {reading:.3f} (cold {median(cold[1:]):.3f}), network {network:.3f}, write"
                  f" {write:.3f} CPU s: {share:.3f} of the network alone; {every:.1f} voxels"
                  f" decoded for one, {new:.1f} of them new", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
