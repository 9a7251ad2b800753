"""The root of a node in an array of parents, for compiled union-finds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled


@compiled
def root_of(parent: NDArray[Any], node: int) -> int:
    """Return the root of a node, a number of ``parent`` ``(n,)``; paths are halved on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled
def roots_of(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the least node that is connected to each of ``count`` nodes by pairs ``(m, 2)``."""
    parent = np.arange(count)
    for e in range(len(pairs)):
        a, b = root_of(parent, pairs[e, 0]), root_of(parent, pairs[e, 1])
        parent[max(a, b)] = min(a, b)
    for node in range(count):
        parent[node] = root_of(parent, node)
    return parent
