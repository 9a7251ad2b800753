"""The root of a node in an array of parents, for compiled union-finds."""

from typing import Any

from numpy.typing import NDArray

from .compiled import compiled


@compiled
def root_of(parent: NDArray[Any], node: int) -> int:
    """Return the root of a node, a number of ``parent`` ``(n,)``; paths are halved on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
