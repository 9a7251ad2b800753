"""What `fibstream contacts --null` tells: whether there is more contact than chance gives."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fibstream.app.charts import as_png
from fibstream.app.contact_figures import against_chance
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.stage import Block, Patch
from fibstream.core.subject import WHOLE
from fibstream.kernels.near import footprint
from fibstream.kernels.near import halo as halo_of
from fibstream.kernels.placing import Shape, paint, place, shapes_of
from fibstream.kernels.tally import Rule, Tally, tally
from fibstream.services.analysis.null import Measures, null_table, placement_table
from fibstream.services.analysis.stages.contact_words import Contact
from fibstream.services.analysis.table import to_csv
from fibstream.volumes.positions import check_same_grid
from fibstream.volumes.sources import Source, open_volume

from .flags import check_choice
from .progress import track

# Placements: of fewer, 95 % are all of them; of more, p is no better known than anyone can use.
MIN_NULL, MAX_NULL = 20, 10_000
MAX_VOXELS = 1 << 27  # 512 cubed: both organelles and what is placed are in memory, 30 bytes each
LAST_SEED = 2**63 - 1

log = logging.getLogger(__name__)


class NullFlags(NamedTuple):
    """The flags of the null model as they were given."""

    times: int
    seed: int = 0
    moves: str = "b"
    overlap: bool = False
    mask: str | None = None


def null_flags(count: int | None, **others: Any) -> NullFlags | None:
    """Return the flags of the null model, None without it: then none of the others is allowed."""
    given = {name: value for name, value in others.items() if value not in (None, False)}
    if count is not None:
        return NullFlags(count, **given)
    if given:
        raise WrongUse(f"--{next(iter(given))}: expected with --null N alone")
    return None


class Chance(NamedTuple):
    """How often to place objects at random, which and where.

    ``moves`` is the side whose objects are placed, a or b; ``overlap`` lets them lie in those of
    the other side.
    """

    times: int
    seed: int
    moves: str
    overlap: bool
    mask: Source | None


class Sides(NamedTuple):
    """Labels of both sides, ``(z, y, x)``, of one organelle the second is None; which is placed."""

    one: NDArray[np.uint64]
    other: NDArray[np.uint64] | None
    moves: int

    @property
    def still(self) -> NDArray[np.uint64] | None:
        """The labels that stay where they are."""
        return self.one if self.moves else self.other

    @property
    def moved(self) -> NDArray[np.uint64]:
        """Those whose objects are placed."""
        return self.other if self.moves and self.other is not None else self.one

    def tally(self, shapes: Sequence[Shape], corners: Sequence[Index], rule: Rule) -> Tally:
        """Count the contacts of objects at their corners."""
        around = [(s.id, s.at(corner)) for s, corner in zip(shapes, corners, strict=True)]
        return tally(self.one, self.other, around, rule, side=self.moves)


def open_chance(flags: NullFlags, contact: Contact, first: Source) -> Chance:
    """Return flags that can be followed; raise WrongUse else, before any contact is looked for.

    The mask must lie where the labels ``first`` do.
    """
    if not MIN_NULL <= flags.times <= MAX_NULL:
        raise WrongUse(f"--null {flags.times}: expected {MIN_NULL} to {MAX_NULL} placements")
    if not 0 <= flags.seed <= LAST_SEED:
        raise WrongUse(f"--seed {flags.seed}: expected 0 to {LAST_SEED}")
    check_choice(flags.moves, ("a", "b"), "--moves")
    if flags.overlap and (contact.loses is not None or contact.a == contact.b):
        raise WrongUse("--overlap: expected two organelles and no --loses, which ends all overlap")
    if math.prod(first.shape) > MAX_VOXELS:
        raise WrongUse(
            f"--null: {' x '.join(map(str, first.shape))} voxels: expected at most {MAX_VOXELS:,}, "
            "which are held in memory; cut out a part of the volume"
        )
    mask = None
    if flags.mask is not None:
        mask = open_volume(flags.mask, kind="labels", voxel_size_nm=first.voxel_size_nm)
        check_same_grid(first, mask)
    return Chance(flags.times, flags.seed, flags.moves, flags.overlap, mask)


def against_null(
    contact: Contact, dataset: Dataset, sources: Mapping[str, Source], chance: Chance
) -> dict[str, bytes]:
    """Return the files that tell whether there is more contact than chance gives, by their names.

    Raises WrongUse where an organelle has no object, or an object finds no place.
    """
    sides = _read(contact, dataset, sources, chance)
    shapes = shapes_of(sides.moved)
    near = footprint(contact.distance_nm, dataset.voxel_size_nm, contact.ties)
    halo = halo_of(contact.distance_nm, dataset.voxel_size_nm, contact.kind)
    rule = Rule(near, halo, contact.kind, contact.least(dataset.voxel_size_nm))
    observed = sides.tally(shapes, [shape.box.start for shape in shapes], rule)
    placed = _drawn(sides, shapes, _free(sides, chance), rule, chance)
    still = sides.still
    counts = len(shapes), len(shapes) if still is None else np.unique(still[still > 0]).size
    pair = (counts[1], counts[0]) if sides.moves else counts
    measures = Measures(pair, dataset.voxel_size_nm, same=still is None)
    placements = placement_table(placed, measures)
    found = null_table(observed, placements, measures)
    found = found.append_column("placements", pa.array([chance.times] * found.num_rows))
    found = found.append_column("seed", pa.array([chance.seed] * found.num_rows, pa.int64()))
    picture = as_png(against_chance(found, placements, {"a": "a", "b": contact.b}))
    return {"null.csv": to_csv(found), "placements.csv": to_csv(placements), "null.png": picture}


def _read(
    contact: Contact, dataset: Dataset, sources: Mapping[str, Source], chance: Chance
) -> Sides:
    """Return both sides, without what one of them loses; WrongUse where one is empty."""
    whole = dataset.grid.volume
    patches = {
        name: Patch(source.read(whole).astype(np.uint64), whole) for name, source in sources.items()
    }
    for name, source in sources.items():
        if not patches[name].array.any():
            raise WrongUse(f"--null: {source.name} has no object")
    one, other = contact.sides(Block(WHOLE, whole, patches))
    if other is None:
        return Sides(one.array, None, 0)
    common = int(((one.array != 0) & (other.array != 0)).sum())
    if common and not chance.overlap:
        log.warning(
            "--null: %d voxels are of both organelles, and none is where objects are placed: "
            "expected --loses a or b, or --overlap", common,
        )  # fmt: skip
    return Sides(one.array, other.array, int(chance.moves == "b"))


def _free(sides: Sides, chance: Chance) -> NDArray[np.bool_]:
    """Return the voxels that placed objects may have, (z, y, x)."""
    whole = Box((0, 0, 0), sides.one.shape)
    if chance.mask is None:
        free = np.ones(whole.shape, bool)
    else:
        free = chance.mask.read(whole) != 0
        beyond = int(((sides.moved != 0) & ~free).sum())
        if beyond:
            log.warning(
                "--mask: %d voxels of the objects lie outside; where these are placed, none does",
                beyond,
            )
    if sides.still is not None and not chance.overlap:
        free &= sides.still == 0
    needed, room = np.count_nonzero(sides.moved), np.count_nonzero(free)
    if needed > room:
        raise WrongUse(f"--null: objects of {needed} voxels are to be placed; {room} are free")
    return free


def _drawn(
    sides: Sides, shapes: Sequence[Shape], free: NDArray[np.bool_], rule: Rule, chance: Chance
) -> list[Tally]:
    """Return the contacts of each placement; say which objects always stayed where they were."""
    labels = np.zeros_like(sides.moved)
    moved = sides._replace(other=labels) if sides.moves else sides._replace(one=labels)
    found, stayed = list[Tally](), [True] * len(shapes)
    for number in track(list(range(chance.times)), "placed at random"):
        # A placement depends on its own number alone, not on how many there are.
        try:
            corners = place(shapes, free, (chance.seed, number))
        except WrongUse as error:
            raise WrongUse(f"--null: placement {number + 1}: {error}") from None
        paint(labels, shapes, corners, erase=False)
        found.append(moved.tally(shapes, corners, rule))
        paint(labels, shapes, corners, erase=True)
        stayed = [
            s and c == shape.box.start for s, c, shape in zip(stayed, corners, shapes, strict=True)
        ]
    if any(stayed):
        log.warning(
            "--null: %d of %d objects fit where they are and nowhere else (the first is %d): of "
            "their contacts chance says nothing",
            sum(stayed), len(shapes), shapes[stayed.index(True)].id,
        )  # fmt: skip
    return found
