"""The tile of a network's file that is wanted, within the memory that is there."""

from pathlib import Path

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.services.inference.backend import AUTO, Wanted
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.tile import largest_tile, parse_tile

from .graph import memory_of
from .model import read_network


def tile_of(path: Path, wanted: Wanted) -> Index | None:
    """Return the tile that is wanted of a network; None: that of its file.

    Raises
    ------
    WrongUse
        It is written as none, does not fit the network, or takes more memory than there is.
    """
    if wanted.tile == AUTO:
        spec, model = read_network(path)
        return largest_tile(spec, lambda tile: memory_of(model, tile), wanted.memory_gb)
    tile = parse_tile(wanted.tile)
    if tile is not None:
        spec, model = read_network(path, tile=tile)
        needed = memory_of(model, tile)
        if needed is None or needed > wanted.memory_gb * 1e9:
            takes = "an unknown amount" if needed is None else f"{needed / 1e9:.1f} GB"
            raise WrongUse(
                f"tile {wanted.tile}: model {spec.name} takes {takes} of memory on it, and "
                f"{wanted.memory_gb:g} GB are allowed (setting tile_memory_gb)"
            )
    return tile


def spec_of(path: Path, wanted: Wanted) -> ModelSpec:
    """Return the geometry of a network with the tile that is wanted; raises as `tile_of`."""
    return read_network(path, tile=tile_of(path, wanted))[0]
