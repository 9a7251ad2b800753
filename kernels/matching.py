"""Objects matched one to one, and the scores of the matches.

The matching is the one of the largest sum of IoU; it is found for each group of objects that
overlap by itself, so that ten thousand objects cost what their overlaps cost.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .near import Voxel
from .scores import Pairs, object_sizes

PARTS = 1_000_000  # of an IoU: sums of integers are the same on every machine


class Match(NamedTuple):
    """A truth object and the test object that stands for it."""

    truth: int
    test: int
    iou: float


def match_objects(pairs: Pairs) -> list[Match]:
    """Return the matches of truth and test objects with the largest sum of IoU, by truth id.

    Parameters
    ----------
    pairs
        Voxels of each pair of a truth and a test id, of `count_pairs`; 0 is background.

    Notes
    -----
    Kuhn 1955, as the CellMap challenge scores instances, which gives up where there are far more
    test objects than truth objects; here no number of objects is too large.
    """
    sizes = object_sizes(pairs)
    edges = sorted((a, b, both) for (a, b), both in pairs.items() if a and b)
    iou = {(a, b): both / (sizes[0][a] + sizes[1][b] - both) for a, b, both in edges}
    found = (match for group in _groups(list(iou)) for match in _best(group, iou))
    return sorted(found)


def _groups(edges: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Return the pairs of each group of objects that overlap, directly or by others."""
    if not edges:
        return []
    rows, columns = (_places([edge[side] for edge in edges]) for side in (0, 1))
    n, m = max(rows) + 1, max(columns) + 1
    ends = (rows, [n + column for column in columns])
    graph = coo_array((np.ones(len(edges), np.int8), ends), shape=(n + m, n + m))
    _, label = connected_components(graph, directed=False)
    groups: dict[int, list[tuple[int, int]]] = {}
    for edge, row in zip(edges, rows, strict=True):
        groups.setdefault(int(label[row]), []).append(edge)
    return list(groups.values())


def _best(edges: Sequence[tuple[int, int]], iou: Mapping[tuple[int, int], float]) -> list[Match]:
    ids = [sorted({edge[side] for edge in edges}) for side in (0, 1)]
    rows, columns = (_places([edge[side] for edge in edges]) for side in (0, 1))
    gain = np.zeros((len(ids[0]), len(ids[1])), np.int64)
    gain[rows, columns] = [round(PARTS * iou[edge]) for edge in edges]
    chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    pairs = ((ids[0][row], ids[1][column]) for row, column in chosen)
    return [Match(*pair, iou[pair]) for pair in pairs if pair in iou]


def _places(ids: Sequence[int]) -> list[int]:
    """Return the place of each id among the distinct ones in order."""
    place = {each: n for n, each in enumerate(sorted(set(ids)))}
    return [place[each] for each in ids]


def matched_scores(
    pairs: Pairs, matches: Sequence[Match], distances_nm: Sequence[float], voxel_size_nm: Voxel
) -> dict[str, int | float]:
    """Score matched objects.

    Parameters
    ----------
    pairs
        Of `count_pairs`.
    matches
        Of `match_objects`.
    distances_nm
        The Hausdorff distance of each match.
    voxel_size_nm
        Edges of a voxel, (z, y, x).

    Returns
    -------
    dict
        ``matched``, ``f1`` (2 matched / (truth objects + test objects)), ``hausdorff`` (the mean
        over truth objects of 1.01^(-distance / diagonal of a voxel), 0 for one without a match),
        and ``combined``, the root of their product. 1.0 where neither side has an object.

    Notes
    -----
    The instance score of the CellMap challenge.
    """
    truth, test = (len(sizes) for sizes in object_sizes(pairs))
    if not truth + test:
        return {"matched": 0, "f1": 1.0, "hausdorff": 1.0, "combined": 1.0}
    near = math.fsum(1.01 ** (-d / math.hypot(*voxel_size_nm)) for d in distances_nm)
    f1 = 2 * len(matches) / (truth + test)
    hausdorff = near / truth if truth else 0.0
    return {
        "matched": len(matches), "f1": f1, "hausdorff": hausdorff,
        "combined": math.sqrt(f1 * hausdorff),
    }  # fmt: skip


def adjusted_rand(pairs: Pairs) -> float:
    """Return the adjusted Rand index of two labelings, of the voxels inside the truth.

    1.0 where they divide these voxels alike, about 0 where by chance; background of the test is
    one class more. NaN without such a voxel.

    Notes
    -----
    Hubert and Arabie, *Comparing partitions*, J. Classification 1985. Pairs of voxels are counted
    in integers; the index is one division.
    """
    inside = {pair: voxels for pair, voxels in pairs.items() if pair[0]}
    sums: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for pair, voxels in inside.items():
        for side in (0, 1):
            sums[side][pair[side]] += voxels
    both = sum(map(_twos, inside.values()))
    truth, test = (sum(map(_twos, each.values())) for each in sums)
    every = _twos(sum(inside.values()))
    # (both - truth test / every) / ((truth + test) / 2 - truth test / every), times 2 every
    above = 2 * (both * every - truth * test)
    below = (truth + test) * every - 2 * truth * test
    if not inside:
        return math.nan
    return above / below if below else 1.0


def _twos(n: int) -> int:
    return n * (n - 1) // 2
