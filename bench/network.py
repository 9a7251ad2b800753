"""What tiling costs: voxels a CPU second of ``predict`` over those of the bare engine.

``python bench/network.py [MODEL] [--rounds N]`` takes a released network's name or an ONNX file.
Bare is the engine called repeatedly on one tile and nothing else.  Each round times both in turn,
so that other load slows both; ratios are medians over the rounds.
"""

import argparse
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import onnx

from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Patch
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import find_model, read_model
from fibstream.services.inference.port import Engine, ModelSpec
from fibstream.services.inference.tiling import halo_of, predict, waste

FAR = 2**16  # cells a side of a tile so large that its halo does not count; nothing is computed


def flop_per_voxel(path: Path, spec: ModelSpec, cells: int = FAR) -> float:
    """Count multiplications and additions of all convolutions for one output voxel.

    ``cells`` strides a side are the tile's output: few show the cost of the halo, many hide it.
    """
    model = onnx.load(path)
    edges = [2 * h + cells * s for h, s in zip(spec.halo, spec.stride, strict=True)]
    for axis, edge in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], edges, strict=True):
        axis.dim_value = edge
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    # A convolution reads its weights for each voxel that it makes, a transposed one that it takes.
    counted = {"Conv": lambda node: node.output[0], "ConvTranspose": lambda node: node.input[0]}
    total = sum(
        2 * prod(weights[node.input[1]]) * prod(shapes[counted[node.op_type](node)][2:])
        for node in graph.node
        if node.op_type in counted
    )
    return float(total / prod(cells * s for s in spec.stride))


def bare(engine: Engine) -> Callable[[], int]:
    tile = np.random.default_rng(0).integers(0, 256, engine.spec.tile, np.uint8)
    return lambda: int(engine.infer(tile)[0].size)


def chunked(engine: Engine, chunk: Index) -> Callable[[], int]:
    """The chunk in the middle of a volume of 3 x 3 x 3, read with its halo."""
    z, y, x = chunk
    grid = Grid((3 * z, 3 * y, 3 * x), chunk)
    core, box = grid.box((1, 1, 1)), grid.block((1, 1, 1), halo_of(engine.spec))
    patch = Patch(np.random.default_rng(0).integers(0, 256, box.shape, np.uint8), box)
    return lambda: int(predict(patch, core, engine)[0].size)


def voxels_a_second(work: Callable[[], int]) -> float:
    begun = time.process_time()
    return work() / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mito")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    path = find_model(given.model)
    spec = read_model(path)
    engine = CpuEngine(path)
    tile = flop_per_voxel(path, spec, spec.output[0] // spec.stride[0])
    print(f"{spec.name}: {flop_per_voxel(path, spec) / 1e3:.1f} kFLOP/voxel without halo,")
    print(f"  {tile / 1e3:.1f} in tiles of {engine.profile['tile']}")
    z, y, x = spec.output
    chunks = [(z, y, x), (z * 2, y, x), (z, y + spec.stride[1] // 2, x), (z // 2, y // 2, x // 2)]
    rates: dict[Index, list[float]] = {chunk: [] for chunk in chunks}
    pairs = [(bare(engine), chunked(engine, chunk), chunk) for chunk in chunks]
    for _ in range(given.rounds):
        for alone, tiled, chunk in pairs:
            rates[chunk].append(voxels_a_second(tiled) / voxels_a_second(alone))
    for chunk, ratios in rates.items():
        extra = waste(spec, chunk)
        print(
            f"chunk {chunk}: {median(ratios):.3f} of the bare engine's voxels/s "
            f"(tiles yield {extra:.2f} voxels for each kept: at most {1 / extra:.3f})"
        )


if __name__ == "__main__":
    main()
