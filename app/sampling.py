"""What a few samples of a source tell before anything is computed; what is told is a note."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Poison
from fibstream.core.grid import Box, Halo, Index
from fibstream.core.stage import Patch
from fibstream.kernels.absent import constant_area
from fibstream.services.inference.polarity import (
    LEAST_SHARE,
    LEVEL,
    EdgeSums,
    likeness,
    seems_inverted,
)  # fmt: skip
from fibstream.services.inference.port import Engine, GreyLevels, ModelSpec
from fibstream.services.inference.seen import View, grey_of, predict_raw, raw_halo
from fibstream.services.ingest.unimaged import undeclared, unimaged_text
from fibstream.volumes.sources import Source

SLICES = 5  # of a source, evenly from the first to the last
# Where networks are tried, as fifths of the axes: no two places share a layer, a row or a column.
PLACES = ((1, 2, 3), (2, 4, 1), (3, 1, 4), (4, 3, 2), (0, 5, 0), (5, 0, 5), (2, 2, 2), (4, 1, 3))
MOST_TRIED = 1_100_000  # voxels, some seconds of one core: four outputs of 64 an edge
NEAR = 32  # of a byte: a quarter of the way from the surface to what is inside by far
FEW = 8  # values of a mask, or of some labels: distances have more on any surface
FULL = 0.95  # of the voxels: no organelle fills so much of a volume
NOT_IMAGED = 0.01  # share of one value in areas, from which a place is left out
WINDOW = 2048  # voxels an edge of what is read of a slice: padding lies at its corners


def unimaged_note(source: Source, absent_value: float | None, give: str = "give") -> str | None:
    """Return what to tell of areas of one value that nobody declared; None where there are none.

    ``give`` says how the flag is given.
    """
    areas = (constant_area(source.read(box), mask_of(source, box)) for box in _windows(source))
    found = [a for a in areas if a is not None and undeclared(a, source.dtype, absent_value)]
    if not found:
        return None
    area = max(found, key=lambda area: area[1])
    return f"{source.name}: {unimaged_text(area, absent_value, give)}"


def mask_of(source: Source, box: Box) -> NDArray[np.uint8] | None:
    """Return what the mask beside a volume says of a box; None where there is none."""
    return None if source.mask is None else source.mask.read(box)


def confused_note(source: Source) -> str | None:
    """Return what to tell of a prediction that looks like labels, or labels like a prediction."""
    samples = [np.unique(source.read(box), return_counts=True) for box in _windows(source)]
    counts = Counter[int]()
    for values, number in samples:
        counts.update(dict(zip(values.tolist(), number.tolist(), strict=True)))
    if source.kind == "prediction" and 1 < len(counts) <= FEW:
        shown = ", ".join(map(str, sorted(counts)))
        return (
            f"{source.name}: has only the values {shown} where it was looked at, few for distances "
            "or probabilities; if it holds labels or a mask, it needs the conversion of labels to "
            "distances (docs/pipelines.md)"
        )
    if source.kind == "labels" and counts[0] < (1 - FULL) * counts.total():
        return (
            f"{source.name}: {1 - counts[0] / counts.total():.1%} of it counts as inside where it "
            "was looked at; if it is a prediction, it holds no labels (docs/pipelines.md)"
        )
    return None


def _windows(source: Source) -> Iterator[Box]:
    """Yield boxes of one slice each: whole, or two opposite corners of a larger one."""
    depth, height, width = source.shape
    for z in sorted({round(k * (depth - 1) / (SLICES - 1)) for k in range(SLICES)}):
        y, x = max(height - WINDOW, 0), max(width - WINDOW, 0)
        yield Box((z, 0, 0), (z + 1, min(height, WINDOW), min(width, WINDOW)))
        if y or x:
            yield Box((z, y, x), (z + 1, height, width))


def network_notes(source: Source, view: View, engine: Engine) -> list[str]:
    """Return what to tell of a network on a volume, by its card and by trying it on places."""
    found = (polarity_note(source, view, engine), meaning_note(source, view, engine))
    return [note for note in found if note is not None]


def polarity_note(
    source: Source, view: View, engine: Engine, *, give: str = "give", leave_out: str = "leave out"
) -> str | None:
    """Return what to tell where a volume fits a network only when it is inverted; else None.

    ``give`` and ``leave_out`` say how the flag is given, and how it is not.
    The network is run on a few places as given, and where its edges are not as dark as in its
    training data, on the same places inverted. A card without grey levels tells nothing.
    """
    trained = engine.spec.grey
    if trained is None:
        return None
    patches = list(_tried(source, view, engine.spec))
    try:
        given = likeness(_levels(patches, view, engine), trained)
        if not seems_inverted(given, math.inf):
            return None
        other = view._replace(invert=not view.invert)
        inverted = likeness(_levels(patches, other, engine), trained)
    except Poison:  # it is recorded of the chunk where it appears
        return None
    if not seems_inverted(given, inverted):
        return None
    advice = f"{leave_out if view.invert else give} --invert"
    shown = "hardly any" if given is None else f"{given:.0%}"
    return (
        f"{source.name}: edges found by model {engine.spec.name} have {shown} of the contrast of "
        f"its training data, with the volume inverted {inverted:.0%}; if membranes are "
        f"{'dark' if view.invert else 'bright'}, {advice}"
    )


def meaning_note(source: Source, view: View, engine: Engine) -> str | None:
    """Return what to tell where the output of a network is hardly what its card declares.

    A sigmoid or softmax, 0 to 1, is also a distance or a logit by its range, and then all of it is
    inside, from the surface on. A card with grey levels has seen objects with edges; of others the
    network is run on a few places, until each class is outside somewhere.
    """
    spec = engine.spec
    if spec.grey is not None or spec.meaning == "probability":
        return None
    lowest = dict.fromkeys(spec.classes, math.inf)
    try:
        for raw, core in _tried(source, view, spec):
            for name, found in zip(spec.classes, predict_raw(raw, core, engine, view), strict=True):
                if found.any():  # 0 is what was never imaged, too
                    lowest[name] = min(lowest[name], int(found[found > 0].min()))
            if min(lowest.values()) < LEVEL:
                return None
    except Poison:  # it is recorded of the chunk where it appears
        return None
    if not max(lowest.values()) <= LEVEL + NEAR:
        return None
    return (
        f"{source.name}: model {spec.name} finds {', '.join(spec.classes)} at every voxel that was "
        f"tried, from the surface on; if its output is a sigmoid or softmax, its meaning is "
        f"probability, not {spec.meaning} (docs/networks.md)"
    )


def _levels(patches: list[tuple[Patch, Box]], view: View, engine: Engine) -> GreyLevels | None:
    sums = EdgeSums(engine.spec.classes)
    for raw, core in patches:
        inside = Patch(raw.array[core.slices(raw.box.start)], core)
        sums.add(grey_of(inside.array, view), predict_raw(raw, core, engine, view))
    return sums.levels(LEAST_SHARE)


def _tried(source: Source, view: View, spec: ModelSpec) -> Iterator[tuple[Patch, Box]]:
    """Yield raw and box of the places where a network is tried, areas never imaged left out."""
    whole, done = Box((0, 0, 0), source.shape), set[Box]()
    most = max(MOST_TRIED // math.prod(spec.output), 1)
    for place in PLACES:
        core = _box_at(place, source.shape, spec).meet(whole)
        if core in done or len(done) == most:
            continue
        box = core.grow(raw_halo(spec, view)).meet(whole)
        raw, mask = Patch(source.read(box), box), mask_of(source, box)
        if mask is not None and (mask == 0).mean() >= NOT_IMAGED:
            continue
        if (constant_area(raw.array) or (0.0, 0.0))[1] < NOT_IMAGED:
            done.add(core)
            yield raw, core


def _box_at(place: Index, shape: Index, spec: ModelSpec) -> Box:
    """Return the output of one tile at some fifths of the axes, on the network's lattice."""
    starts = (
        (k * max(edge - output, 0) // 5 - phase - halo) // stride * stride + phase + halo
        for k, edge, output, phase, halo, stride in zip(
            place, shape, spec.output, spec.phase, spec.halo, spec.stride, strict=True
        )
    )
    z, y, x = (max(start, 0) for start in starts)
    return Box((z, y, x), (z, y, x)).grow(Halo((0, 0, 0), spec.output))
