"""Calibrates a network for int8 on places of a volume."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Halo, Index
from fibstream.core.stage import Patch
from fibstream.services.inference.edges.observing import Observer
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.seen import View, predict_raw, raw_halo
from fibstream.services.inference.tiling import halo_of
from fibstream.volumes.sources import Source

Places = Sequence[Box]


def places(shape: Index, spec: ModelSpec, count: int, seed: int) -> Places:
    """Return what so many tiles yield, at random on the network's lattice within a volume.

    Each place once, so that a small volume has fewer; one smaller than a tile's output has one.
    """
    rng = np.random.default_rng(seed)
    axes = []
    for edge, step, stride, halo, phase in zip(
        shape, spec.step, spec.stride, spec.halo, spec.phase, strict=True
    ):
        first = (phase + halo) % stride
        axes.append(first + stride * rng.integers(max(edge - first - step, 0) // stride + 1,
                                                  size=count))  # fmt: skip
    starts = dict.fromkeys(zip(*(axis.tolist() for axis in axes), strict=True))
    whole = Box((0, 0, 0), shape)
    found = (Box(start, start).grow(Halo((0, 0, 0), spec.step)).meet(whole) for start in starts)
    return [box for box in found if not box.empty] or [whole]


def observe(
    source: Source, view: View, observer: Observer, cores: Places,
    shown: Callable[[Iterable[Box]], Iterator[Box]] = iter,
) -> None:  # fmt: skip
    """Let an observer see places of a volume as predictions see them, its border reflected.

    Raises
    ------
    WrongUse
        All of them are absent, masked or of one grey value.
    """
    spec, whole = observer.spec, Box((0, 0, 0), source.shape)
    for core in shown(cores):
        box = core.grow(raw_halo(spec, view)).meet(whole)
        mask = None
        if source.mask is not None:
            inside = core.grow(halo_of(spec)).meet(whole)
            mask = Patch(source.mask.read(inside), inside)
        predict_raw(Patch(source.read(box), box), core, observer, view, mask)
    if not observer.tiles:
        raise WrongUse(
            f"{source.name}: the {len(cores)} tiles that were tried are of one grey value or were "
            "never imaged; expected real data, or more --tiles"
        )
