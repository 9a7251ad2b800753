"""Networks by backend and precision, a CPU second each, against ONNX Runtime and the naive way.

``python -m bench.engine [MODEL] [--raw VOLUME] [--rounds N] [--threads N]``

All variants are alive at once and called in turn on one tile of real data; a figure is the median
over rounds of CPU seconds, which other load moves less than the clock. Bits are compared with
ONNX Runtime's in fp32: the share of voxels that change sides, and that move at all. The naive way
is torch in fp32, eager, on inputs of 132 voxels, of which what the halo leaves is kept; it is left
out where torch is not installed. Worse than 1 is slower than ONNX Runtime.
"""

import argparse
import importlib
import time
from collections.abc import Callable
from importlib.metadata import version
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.services.inference.edges.backends import BACKENDS
from fibstream.services.inference.edges.engine import NetworkEngine
from fibstream.services.inference.edges.model import find_model, read_model
from fibstream.services.inference.port import ModelSpec

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "flyem_medulla.tif"
NAIVE = 132  # voxels an edge: what papers and tools feed a network of this size

Call = Callable[[], Any]


def tile_of(volume: NDArray[np.uint8], edges: tuple[int, ...]) -> NDArray[np.uint8]:
    short = [(0, max(edge - n, 0)) for edge, n in zip(edges, volume.shape, strict=True)]
    z, y, x = edges
    return np.ascontiguousarray(np.pad(volume, short, mode="reflect")[:z, :y, :x])


def engines(path: Path, threads: int) -> dict[str, NetworkEngine]:
    """Every backend that this machine has, at each precision; the others are told."""
    found = {}
    for backend in BACKENDS:
        for precision in backend.precisions:
            name = f"{backend.name} {precision}"
            try:
                why = backend.why_not(precision)
                if why is not None:
                    raise WrongUse(why)
                found[name] = NetworkEngine(path, backend, precision, threads)
            except WrongUse as error:
                print(f"{name}: left out: {error}")
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


def cpu_seconds(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            taken[name].append(time.process_time() - begun)
    return {name: median(each) for name, each in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mito")
    parser.add_argument("--raw", type=Path, default=SAMPLE, help="a TIFF stack of uint8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    path, volume = find_model(given.model), tifffile.imread(given.raw)
    spec = read_model(path)
    tile = tile_of(volume, spec.tile)
    made = engines(path, given.threads)
    calls: dict[str, Call] = {n: lambda e=e: e.infer(tile) for n, e in made.items()}  # type: ignore[misc]
    voxels = dict.fromkeys(calls, prod(spec.output))
    by_torch = naive(path, spec, volume, given.threads)
    if by_torch is not None:
        calls["torch fp32"] = by_torch
        kept = ((NAIVE - 2 * h) // s * s for h, s in zip(spec.halo, spec.stride, strict=True))
        voxels["torch fp32"] = prod(kept)
    taken = cpu_seconds(calls, given.rounds)
    rates = {name: voxels[name] / seconds for name, seconds in taken.items()}
    exact = made["onnxruntime fp32"].infer(tile)
    print(f"{spec.name}, tile {spec.tile}, output {spec.output}, {given.threads} threads")
    for name in sorted(rates, key=lambda n: rates[n]):
        ratio = rates[name] / rates["onnxruntime fp32"]
        told = f"torch {version('torch')}"
        if name in made:
            found, told = made[name].infer(tile), made[name].profile["runtime"]
            flips, moved = np.mean((found > 127) != (exact > 127)), np.mean(found != exact)
            told += f"; {flips:.4%} change sides, {moved:.3%} move"
        print(f"  {name:<18} {taken[name]:6.3f} CPU s, {rates[name] / 1e6:5.2f} M voxels a CPU s,"
              f" {ratio:4.2f} of onnxruntime ({told})")  # fmt: skip


if __name__ == "__main__":
    main()
