"""Basins, saddles and agglomeration, whole and in blocks, against scikit-image's watershed.

Run: ``python -m bench.agglomeration [EDGE]``.  One thread, one run.  scikit-image floods the same
smoothed volume from the same markers (minima with a dynamics of one unit or more), and its region
adjacency graph is merged by mean boundary: no quantile, but the nearest that it has.
"""

import statistics
import sys
import time
from fractions import Fraction

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.graph import merge_hierarchical, rag_boundary
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from fibstream.core.grid import Grid, Halo
from fibstream.core.ids import voxel
from fibstream.kernels.mapping import encode_mapping
from fibstream.kernels.relabel import relabel
from fibstream.kernels.smooth import smooth
from fibstream.kernels.watershed import agglomerate, basins, dynamics, saddles
from fibstream.kernels.watershed.rule import Agglomeration

from .components import compile_times, timed

RULE = Agglomeration(25, Fraction("0.9"))
ROUNDS = 3
KERNELS = (
    (basins, ("_descend", "_follow", "_paint")),
    (saddles, ("_count_voxels", "_write_pairs")),
    (dynamics, ("_kruskal", "_flood")),
)


def smoothed_prediction(edge):
    """A third of the volume is foreground, in lumps some 25 voxels wide, smoothed by 3 voxels."""
    noise = np.random.default_rng(1).standard_normal((edge,) * 3, np.float32)
    field = gaussian_filter(noise, 6)
    field -= np.quantile(field[::4, ::4, ::4], 0.67)
    image = np.clip(127 + 90 * field / field.std(), 0, 255).astype(np.uint8)
    return smooth(image, (3.0, 3.0, 3.0), Grid(image.shape, image.shape).volume)


def objects_in_blocks(smoothed, chunk):
    """Return the seconds of descent, saddles, joining, merging and painting; the labels; bytes."""
    grid = Grid(smoothed.shape, (min(chunk, smoothed.shape[0]),) * 3)
    seconds, blocks, graphs = [0.0] * 5, {}, {}
    for index in grid.indices():
        core = grid.box(index)
        box = core.grow(Halo.of(1)).meet(grid.volume)
        begin = time.perf_counter()
        relief = basins.relief_of(smoothed[box.slices()], RULE.background)
        found = basins.find_basins(relief, box, core, 6)
        seconds[0] += time.perf_counter() - begin
        spent, graphs[index] = timed(saddles.find_saddles, found, 6)
        seconds[1] += spent
        spent, blocks[index] = timed(basins.paint_ends, found)
        seconds[4] += spent
    seconds[2], graph = timed(saddles.join_all, graphs)
    seconds[3], objects = timed(agglomerate.agglomerate, graph, RULE)
    begin = time.perf_counter()
    labels = np.zeros(smoothed.shape, np.uint64)
    shell = saddles.follow([g.shell for g in graphs.values()])
    for index, ends in blocks.items():
        mine = graphs[index].basin
        minima = saddles.find_in(shell[:, 0], shell[:, 1], mine)
        final = objects[saddles.rows_of(graph.basin, minima)]
        labels[grid.box(index).slices()] = relabel(ends, mine, encode_mapping(mine, final))
    seconds[4] += time.perf_counter() - begin
    size = statistics.mean(sum(a.nbytes for a in g[1:]) for g in graphs.values())
    return seconds, labels, graph, size


def peer(smoothed, graph):
    """Return scikit-image's seconds of flooding from the same markers and of region merging."""
    mask = smoothed > RULE.background << 7
    names = np.unique(dynamics.mark(graph, RULE.least_dynamics))
    seeds = np.zeros(smoothed.shape, np.int32)
    for number, name in enumerate(names.tolist(), 1):
        seeds[voxel(name - 1)] = number
    evidence = -smoothed.astype(np.int32)
    flood, labels = timed(lambda: watershed(evidence, seeds, mask=mask))
    merge, _ = timed(merged_by_peer, labels, smoothed)
    found, _ = timed(local_maxima, smoothed)
    return flood, merge, found


def merged_by_peer(labels, smoothed):
    rag = rag_boundary(labels, (1 - smoothed / (255 << 7)).astype(np.float64), connectivity=1)
    if 0 in rag:
        rag.remove_node(0)
    return merge_hierarchical(
        labels, rag, 0.3, rag_copy=False, in_place_merge=True,
        merge_func=lambda *_: None, weight_func=weight,
    )  # fmt: skip


def weight(graph, source, target, neighbour):
    """The mean boundary of two regions' edges to a third, as scikit-image's example has it."""
    none = {"weight": 0.0, "count": 0}
    one = graph[source].get(neighbour, none)
    other = graph[target].get(neighbour, none)
    count = one["count"] + other["count"]
    total = one["count"] * one["weight"] + other["count"] * other["weight"]
    return {"count": count, "weight": total / count}


def main(edge):
    objects_in_blocks(smoothed_prediction(24), 12)  # compiles
    smoothed = smoothed_prediction(edge)
    inside = float((smoothed > RULE.background << 7).mean())
    results = {}
    for chunk in (edge, edge // 2, 64):
        runs = [objects_in_blocks(smoothed, chunk) for _ in range(ROUNDS)]
        results[chunk] = runs[0]
        parts = [statistics.median(run[0][k] for run in runs) for k in range(5)]
        _, labels, graph, size = runs[0]
        assert np.array_equal(labels, results[edge][1]), "blocks differ from the whole"
        rates = ", ".join(
            f"{name} {part:.2f} s"
            for name, part in zip(
                ("descent", "saddles", "join", "agglomerate", "paint"), parts, strict=True
            )
        )
        print(
            f"chunk {chunk}: {rates}; all {sum(parts):.2f} s = "
            f"{smoothed.size / sum(parts) / 1e6:.1f} Mvox/s; a summary {size / 1e6:.2f} MB",
            flush=True,
        )
        results[chunk] = sum(parts), labels, graph
    graph = results[edge][2]
    flood, merge, found = peer(smoothed, graph)
    objects = np.unique(results[edge][1]).size - 1
    print(
        f"{edge}^3, foreground {inside:.2f}, {graph.basin.size} minima, {len(graph.edge)} edges, "
        f"{objects} objects\n"
        f"scikit-image: maxima {found:.2f} s, watershed {flood:.2f} s "
        f"({smoothed.size / flood / 1e6:.1f} Mvox/s), region merging {merge:.2f} s; "
        f"all {flood + merge + found:.2f} s = {(flood + merge + found) / results[edge][0]:.1f} of "
        f"our time whole, {(flood + merge + found) / results[64][0]:.1f} in chunks of 64; "
        f"chunks of 64 over whole {results[64][0] / results[edge][0]:.2f}"
    )
    for name, seconds in compile_times(KERNELS):
        print(f"compile {name}: {seconds:.1f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 256)
