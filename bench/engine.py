"""Networks by backend, precision and tile, in one run: ``python -m bench.engine [MODEL]``.

``[--raw VOLUME] [--rounds N] [--threads N] [--file-tile]``

All variants are alive at once and called in turn on real data; a figure is the median over rounds
of CPU seconds, which other load moves less than the clock. Rates are those of a volume of many
tiles: voxels of a tile's output a CPU second. Worse than 1 is slower than ONNX Runtime in fp32 on
the tile of the file; bits are compared with its own, where outputs overlap. Int8 is that of a
MODEL that ``fibstream calibrate`` wrote; ``--file-tile`` leaves out larger tiles, workers, peaks.

The naive way is torch in fp32, eager, on inputs of 132 voxels, one after the other, of which what
the halo leaves is kept; it is left out where torch is not installed. Arithmetic is counted from the
convolutions' shapes, over what a tile without end takes. A worker's chunk is read, predicted,
encoded and put (see ``bench.chunk``). Two at once are two single threads of one process: on cores
that are idle the clock tells how far they scale, on others only CPU seconds do. Peaks of memory are
of processes of their own, which load a network and run it once.
"""

import argparse
import importlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import tifffile
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.services.inference.backend import FP32, Wanted, candidates
from fibstream.services.inference.edges.backends import BACKENDS
from fibstream.services.inference.edges.engine import Network
from fibstream.services.inference.edges.graph import graph_of, memory_of, shapes_of
from fibstream.services.inference.edges.model import find_model, read_network
from fibstream.services.inference.port import ModelSpec

from .chunk import landed, timed

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "flyem_medulla.tif"
NAIVE = 132  # voxels an edge: what papers and tools feed a network of this size
OUTPUTS = (128, 192)  # of larger tiles; chunks of a worker have the last
EXACT = "onnxruntime fp32"
TORCH = f"torch fp32 {NAIVE}"

Call = Callable[[], Any]


def tile_of(volume: NDArray[np.uint8], edges: Index) -> NDArray[np.uint8]:
    short = [(0, max(edge - n, 0)) for edge, n in zip(edges, volume.shape, strict=True)]
    z, y, x = edges
    return np.ascontiguousarray(np.pad(volume, short, mode="reflect")[:z, :y, :x])


def larger(spec: ModelSpec, output: int) -> Index:
    """The tile whose output is the next multiple of the stride, as ``--tile auto`` takes it."""
    z, y, x = (-(-output // s) * s + 2 * h for s, h in zip(spec.stride, spec.halo, strict=True))
    return z, y, x


def networks(path: Path, threads: int, outputs: Sequence[int]) -> dict[str, Network]:
    """Every backend at each precision on the file's tile, the rest told; auto's on larger ones."""
    found = {}
    for backend in BACKENDS:
        for precision in backend.precisions:
            name = f"{backend.name} {precision}"
            try:
                why = backend.why_not(precision)
                if why is not None:
                    raise WrongUse(why)
                found[name] = Network(path, backend, precision, threads)
            except WrongUse as error:
                print(f"{name}: left out: {error}")
    fastest, _ = candidates(Wanted(), BACKENDS)[0]
    for output in outputs:
        tile = larger(found[EXACT].spec, output)
        made = Network(path, fastest, FP32, threads, tile=tile)
        found[f"{fastest.name} {FP32} {tile[0]}"] = made
    return found


def naive(path: Path, spec: ModelSpec, volume: NDArray[np.uint8], threads: int) -> Call | None:
    """The network as torch runs it without further thought; None where torch is not installed."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        print("torch: not installed, so the naive way is left out")
        return None
    from fibstream.services.inference.training.export import weights_of
    from fibstream.services.inference.training.network import Deployed, UNet

    torch.set_num_threads(threads)
    saved = weights_of(path)
    net = UNet(saved.network, len(spec.classes))
    net.load_state_dict(saved.state)
    whole = Deployed(net.as_valid().eval())
    tile = torch.from_numpy(tile_of(volume, (NAIVE,) * 3)[None, None])

    def call() -> Any:
        with torch.no_grad():
            return whole(tile)

    return call


def arithmetic(model: onnx.ModelProto, tile: Index) -> float:
    """Products of all convolutions on a tile; transposed ones count by their input."""
    shapes = shapes_of(model, tile)
    assert shapes is not None
    graph, total = graph_of(model), 0.0
    for node in graph.nodes:
        if node.kind in ("Conv", "ConvTranspose"):
            weight = graph.constants[node.inputs[1]].shape
            places = shapes[node.output if node.kind == "Conv" else node.inputs[0]][2:]
            total += prod(weight) * prod(places)
    return total


def without_halo(model: onnx.ModelProto, spec: ModelSpec) -> float:
    """Products for each voxel of the output of a tile without end.

    Products are a polynomial of the third degree of a tile's edge: its third differences over a
    step are 6 times the cube of the step, times that.
    """
    step = max(spec.stride) * 8
    tiles = [(max(spec.tile) + n * step,) * 3 for n in range(4)]
    (found,) = np.diff([arithmetic(model, (z, y, x)) for z, y, x in tiles], n=3)
    return float(found) / (6 * step**3)


def both(one: Network, other: Network, tile: NDArray[np.uint8]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda network: network.infer(tile), (one, other)))


def timings(calls: dict[str, Call], rounds: int) -> dict[str, tuple[float, float]]:
    """CPU seconds and seconds of the clock of each call."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):  # the first is warming up
        for name, call in calls.items():
            begun, clock = time.process_time(), time.perf_counter()
            call()
            lap = time.process_time() - begun, time.perf_counter() - clock
            taken[name] += [lap] if turn else []
    return {n: (median(c for c, _ in each), median(w for _, w in each))
            for n, each in taken.items()}  # fmt: skip


def compared(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> str:
    z, y, x = (min(a, b) for a, b in zip(found.shape[1:], exact.shape[1:], strict=True))
    found, exact = found[:, :z, :y, :x], exact[:, :z, :y, :x]
    (here, there), moved = (found > 127, exact > 127), np.mean(found != exact)
    dice = 2 * np.sum(here & there) / max(np.sum(here) + np.sum(there), 1)
    return f"{np.mean(here != there):.4%} change sides, Dice {dice:.4f}, {moved:.4%} move"


def peak(model: str, backend: str, tile: Index) -> float:
    """GB that a process has held at most."""
    words = [model, "--peak", backend, ",".join(map(str, tile))]
    given = [sys.executable, "-m", "bench.engine", *words]
    return float(subprocess.run(given, check=True, capture_output=True, text=True).stdout)


def own_peak(path: Path, name: str, edges: str) -> None:
    z, y, x = map(int, edges.split(","))
    (backend,) = (b for b in BACKENDS if b.name == name)
    Network(path, backend, FP32, 1, tile=(z, y, x)).infer(np.zeros((z, y, x), np.uint8))
    # The kernel's ru_maxrss begins at that of the parent; this begins at 0 with the program.
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in s)
    print(int(line.split()[1]) * 1024 / 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mito")
    parser.add_argument("--raw", type=Path, default=SAMPLE, help="a TIFF stack of uint8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--file-tile", action="store_true")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    path = find_model(given.model)
    if given.peak:
        own_peak(path, *given.peak)
        return
    spec, model = read_network(path)
    rates(path, spec, model, tifffile.imread(given.raw), given)
    if given.file_tile:
        return
    print("peak of a process, GB; expected of a tile that is chosen")
    for tile in (spec.tile, *(larger(spec, output) for output in OUTPUTS)):
        expected = (memory_of(model, tile) or 0) / 1e9
        names = [b.name for b in BACKENDS if not b.on_gpu and b.why_not(FP32) is None]
        told = ", ".join(f"{name} {peak(given.model, name, tile):.2f}" for name in names)
        print(f"  {tile}: {told}; expected {expected:.2f}", flush=True)


def rates(
    path: Path, spec: ModelSpec, model: onnx.ModelProto, volume: NDArray[np.uint8],
    given: argparse.Namespace,
) -> None:  # fmt: skip
    made = networks(path, given.threads, () if given.file_tile else OUTPUTS)
    cut = {name: tile_of(volume, each.spec.tile) for name, each in made.items()}
    calls: dict[str, Call] = {n: lambda n=n, e=e: e.infer(cut[n]) for n, e in made.items()}
    voxels = {name: prod(each.spec.output) for name, each in made.items()}
    torch = naive(path, spec, volume, given.threads)
    if torch is not None:
        calls[TORCH] = torch
        kept = ((NAIVE - 2 * h) // s * s for h, s in zip(spec.halo, spec.stride, strict=True))
        voxels[TORCH] = prod(kept)
    *_, middle, last = EXACT, *made
    fastest, _ = candidates(Wanted(), BACKENDS)[0]
    with tempfile.TemporaryDirectory() as folder:
        if not given.file_tile:
            twin = Network(path, fastest, FP32, 1, tile=made[middle].spec.tile)
            store, hashes = landed(Path(folder), made[last].spec.output)
            calls["chunk"] = lambda: timed(store, hashes, made[last])
            calls["two"] = lambda: both(made[middle], twin, cut[middle])
        taken = timings(calls, given.rounds)
    print(f"{spec.name}, {given.threads} threads, {given.rounds} rounds")
    speeds = {name: voxels[name] / taken[name][0] for name in voxels}
    exact, ideal = made[EXACT].infer(cut[EXACT]), without_halo(model, spec)
    for name in sorted(voxels, key=speeds.__getitem__):
        told = f"torch {version('torch')}" if name == TORCH else ""
        if name in made:
            told = compared(made[name].infer(cut[name]), exact)
            each = arithmetic(model, made[name].spec.tile) / voxels[name]
            told += f", arithmetic {each / ideal:.2f}"
        print(f"  {name:<20} {taken[name][0]:7.3f} CPU s, {speeds[name] / 1e6:5.2f} M voxels a CPU"
              f" s, {speeds[name] / speeds[EXACT]:4.2f} of {EXACT} ({told})")  # fmt: skip
    if not given.file_tile:
        told_of_workers(taken, speeds, middle, last)


def told_of_workers(
    taken: dict[str, tuple[float, float]], speeds: dict[str, float], middle: str, last: str
) -> None:
    share = taken[last][0] / taken["chunk"][0]
    print(f"a worker's chunk on {last}: {share:.3f} of the network alone")
    if TORCH in speeds:
        ratio = share * speeds[last] / speeds[TORCH]
        print(f"  {ratio:.2f} times the voxels a CPU second of {TORCH}, which reads nothing")
    (alone, clock), (two, at_once) = taken[middle], taken["two"]
    print(f"two at once on {middle}: {2 * clock / at_once:.2f} times one by the clock,"
          f" {4 * alone / two:.2f} by CPU seconds, on idle cores")  # fmt: skip


if __name__ == "__main__":
    main()
