"""Which tile a network runs on: its file's, a given one, or the largest that memory allows."""

from collections.abc import Callable, Mapping
from itertools import takewhile

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index

from .backend import AUTO, MODEL
from .port import MAX_TILE, ModelSpec

OUTPUT = 64  # outputs grow by so many voxels, as the chunks that they fill do
MOST = 256  # voxels an edge of the output: no chunk is larger unless it is asked for
MAX_TEXT = 40  # characters of a tile as it is written


def tile_text(tile: Index) -> str:
    """Return a tile as a profile records it."""
    return "x".join(map(str, tile))


def recorded_tile(profile: Mapping[str, str]) -> Index | None:
    """Return the tile of a profile; None where it tells of none, or of what is no tile."""
    try:
        z, y, x = (int(edge) for edge in profile["tile"].split("x"))
    except (KeyError, ValueError):
        return None
    return z, y, x


def parse_tile(text: str) -> Index | None:
    """Return the tile that a text names, None for `MODEL`.

    Raises
    ------
    WrongUse
        It is no tile.
    """
    if text == MODEL:
        return None
    parts = text.split(",") if len(text) <= MAX_TEXT else []
    if len(parts) == 3 and all(p.isdecimal() and 0 < int(p) <= MAX_TILE for p in parts):
        z, y, x = map(int, parts)
        return z, y, x
    raise WrongUse(
        f"tile {echo(text, MAX_TEXT)}: expected {MODEL}, {AUTO}, or Z,Y,X, edges of the input from "
        f"1 to {MAX_TILE}"
    )


def largest_tile(
    spec: ModelSpec, memory: Callable[[Index], int | None], memory_gb: float
) -> Index | None:
    """Return the largest tile whose activations fit into memory; None: none but the file's.

    Outputs of 64, 128, 192 and 256 voxels an edge are tried, each the next multiple of the stride.

    Parameters
    ----------
    spec
        The network with the tile of its file: no smaller one is chosen.
    memory
        Bytes that a tile takes; None where the network does not run on it.
    memory_gb
        What is there, in 10^9 bytes.
    """
    tiles = [_tile(spec, output) for output in range(OUTPUT, MOST + 1, OUTPUT)]
    larger = [tile for tile in tiles if all(a >= b for a, b in zip(tile, spec.tile, strict=True))]

    def fits(tile: Index) -> bool:
        needed = memory(tile)
        return needed is not None and needed <= memory_gb * 1e9 and max(tile) <= MAX_TILE

    return max(takewhile(fits, larger), default=None)


def _tile(spec: ModelSpec, output: int) -> Index:
    z, y, x = (
        -(-output // s) * s + (t - 2 * h) % s + 2 * h
        for s, h, t in zip(spec.stride, spec.halo, spec.tile, strict=True)
    )
    return z, y, x
