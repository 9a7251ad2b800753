"""How much memory a network's activations take, by what must be held while each node runs."""

from collections.abc import Mapping, Sequence
from math import prod

from .bound import Node

BYTES = 4  # of a value of float32


def held(nodes: Sequence[Node], shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the largest number of bytes of tensors that are alive at once.

    A tensor is alive from the node that yields it to the last that reads it; what a node reads and
    yields is alive together. Runtimes hold more: they may pad channels and copy inputs of sums.

    Parameters
    ----------
    nodes
        In the order in which they run; the last yields the output.
    shapes
        Of every tensor that a node yields.
    """
    last = {name: number for number, node in enumerate(nodes) for name in node.inputs}
    alive: dict[str, int] = {}
    most = 0
    for number, node in enumerate(nodes):
        alive[node.output] = BYTES * prod(shapes[node.output])
        most = max(most, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > number}
    return most
