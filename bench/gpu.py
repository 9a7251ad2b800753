"""Proves the GPU's path on a machine that has one, in one command: ``python -m bench.gpu [MODEL]``.

For each precision of `cuda` and `tensorrt`: a session whose every node runs on the GPU, the
self-check, the same bits from two engines made apart, deviation from the reference in fp32, voxels
a second, and the sample predicted twice in two chunkings, equal to the last bit. Ends with 1 when
one of them fails, and with 2 where there is no GPU to try.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import tifffile
from numpy.typing import NDArray

from fibstream.core.errors import FibstreamError
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Patch
from fibstream.services.inference.backend import Backend, deviation, judged
from fibstream.services.inference.edges.backends import BACKENDS
from fibstream.services.inference.edges.engine import CpuEngine, NetworkEngine, engine_of
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.port import Engine
from fibstream.services.inference.tiling import halo_of, predict

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "flyem_medulla.tif"
ROUNDS = 20


def predicted(volume: NDArray[np.uint8], chunk: Index, engine: Engine) -> NDArray[np.uint8]:
    """The prediction of a volume, chunk by chunk."""
    z, y, x = volume.shape
    grid = Grid((z, y, x), chunk)
    whole = np.zeros((len(engine.spec.classes), z, y, x), np.uint8)
    for index in grid.indices():
        core, box = grid.box(index), grid.block(index, halo_of(engine.spec))
        found = predict(Patch(volume[box.slices()], box), core, engine)
        whole[:, *core.slices()] = found
    return whole


def voxels_a_second(engine: Engine) -> float:
    tile = np.random.default_rng(0).integers(0, 256, engine.spec.tile, np.uint8)
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        found = engine.infer(tile)
        taken.append(time.perf_counter() - begun)
    return found[0].size / median(taken)


def proved(
    path: Path, backend: Backend, precision: str, exact: CpuEngine, volume: NDArray[np.uint8]
) -> str:
    """Return one line of figures; raise FibstreamError where something is not as promised."""
    engine = NetworkEngine(path, backend, precision)
    engine_of(path, engine.profile, 2)  # made apart: the same digests, or refused
    flips, levels = deviation(engine.smooth, exact.smooth)
    judged(engine.spec.name, precision, flips, levels)
    first = predicted(volume, (64, 64, 64), engine)
    if not np.array_equal(first, predicted(volume, (50, 100, 72), engine)):
        raise FibstreamError("two chunkings of the sample differ")
    rate = voxels_a_second(engine) / 1e6
    return f"{rate:.1f} M voxels/s, {flips:.4%} change sides, {levels} levels; {engine.profile}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mito")
    path, volume = find_model(parser.parse_args().model), tifffile.imread(SAMPLE)
    exact = CpuEngine(path)
    print(f"onnxruntime on the processor, 1 thread: {voxels_a_second(exact) / 1e6:.1f} M voxels/s")
    tried = failed = 0
    for backend in (b for b in BACKENDS if b.on_gpu):
        for precision in backend.precisions:
            name = f"{backend.name} {precision}"
            try:
                why = backend.why_not(precision)
                if why is not None:
                    print(f"{name}: not tried: {why}")
                    continue
                tried += 1
                print(f"{name}: {proved(path, backend, precision, exact, volume)}", flush=True)
            except Exception as error:  # a runtime's errors have no other base: the rest goes on
                failed += 1
                print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
    if failed:
        return 1
    return 0 if tried else 2


if __name__ == "__main__":
    sys.exit(main())
