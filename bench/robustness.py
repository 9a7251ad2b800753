"""What a network still finds in data unlike its training: one change at a time, the same voxels.

``python -m bench.robustness --raw PATH --truth PATH [--box Z:Z,Y:Y,X:X] [--model NAME|FILE]
[--at CLASS] [--only CHANGE]``

Dice, precision and recall at the fixed threshold within the box alone (of what training never
read); the network sees the rest of the volume around it, changed alike. Where a change moves
voxels, truth moves with them; what it takes away is not scored, and a box of that alone has "-".
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.grid import Box, Grid
from fibstream.core.stage import Patch
from fibstream.kernels.scores import Overlap, count, scores
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.polarity import LEVEL
from fibstream.services.inference.port import Engine
from fibstream.services.inference.seen import MIDDLE
from fibstream.services.inference.tiling import halo_of, predict
from fibstream.volumes.lengths import Size
from fibstream.volumes.sources import open_volume
from fibstream.volumes.zarr_n5.selection import Kind

CHUNK = (64, 128, 128)
LOST = slice(4, None, 8)  # slices, in z
Grey = NDArray[np.uint8]


class Volume(NamedTuple):
    """Grey values, truth (a mask, or fine ids), and which voxels are scored; all (z, y, x)."""

    raw: Grey
    truth: NDArray[Any]
    scored: NDArray[np.bool_]


Change = Callable[[Volume, np.random.Generator], Volume]


def _grey(values: NDArray[np.floating[Any]]) -> Grey:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def stretched(factor: float, shift: float = 0.0) -> Change:
    """Contrast around the mean by a factor, and so many grey levels brighter."""

    def change(volume: Volume, _: np.random.Generator) -> Volume:
        mean = volume.raw.mean(dtype=np.float64)
        return volume._replace(raw=_grey((volume.raw - mean) * factor + mean + shift))

    return change


def gamma(power: float) -> Change:
    """Grey values to a power."""
    table = _grey(255 * (np.arange(256) / 255) ** power)
    return lambda volume, _: volume._replace(raw=table[volume.raw])


def noise(deviation: float) -> Change:
    """Normal noise of so many grey levels."""

    def change(volume: Volume, rng: np.random.Generator) -> Volume:
        noisy = volume.raw + rng.normal(0, deviation, volume.raw.shape).astype(np.float32)
        return volume._replace(raw=_grey(noisy))

    return change


def blur(sigma: float) -> Change:
    """A Gaussian of so many voxels."""
    return lambda volume, _: volume._replace(
        raw=_grey(ndimage.gaussian_filter(volume.raw.astype(np.float32), sigma))
    )


def jitter(most: int) -> Change:
    """Every slice displaced by whole voxels, at most so many in y and x."""

    def change(volume: Volume, rng: np.random.Generator) -> Volume:
        steps = rng.integers(-most, most + 1, (len(volume.raw), 2))
        moved = [part.copy() for part in volume]
        for planes in moved:
            for z, (y, x) in enumerate(steps):
                planes[z] = np.roll(planes[z], (int(y), int(x)), (0, 1))
        return Volume(*moved)

    return change


def lost(volume: Volume, where: tuple[slice, ...], grey: Grey | int = 0) -> Volume:
    """What was never imaged reads 0, or other grey values, and is not scored."""
    raw, scored = volume.raw.copy(), volume.scored.copy()
    raw[where], scored[where] = grey, False
    return volume._replace(raw=raw, scored=scored)


def repeated_slices(volume: Volume, _: np.random.Generator) -> Volume:
    """In place of a slice that was lost the one before it is seen again."""
    before = np.roll(volume.raw, 1, 0)[LOST]
    return lost(volume, (LOST,), before)


def black_half(volume: Volume, _: np.random.Generator) -> Volume:
    """The half of large y was never imaged."""
    return lost(volume, (slice(None), slice(volume.raw.shape[1] // 2, None)))


def resampled(factor: float) -> Change:
    """The same tissue in voxels ``1 / factor`` as large: so many times as many of them."""

    def change(volume: Volume, _: np.random.Generator) -> Volume:
        raw = ndimage.zoom(volume.raw.astype(np.float32), factor, order=1)
        truth, there = (
            ndimage.zoom(part.astype(np.uint8), factor, order=0).astype(part.dtype)
            for part in volume[1:]
        )
        return Volume(_grey(raw), truth, there)

    return change


CHANGES: Mapping[str, Change] = {
    "as it is": lambda volume, _: volume,
    "contrast x 0.5": stretched(0.5),
    "contrast x 0.7": stretched(0.7),
    "contrast x 1.4": stretched(1.4),
    "30 levels darker": stretched(1, -30),
    "30 levels brighter": stretched(1, 30),
    "gamma 0.7": gamma(0.7),
    "gamma 1.4": gamma(1.4),
    "inverted": lambda volume, _: volume._replace(raw=255 - volume.raw),
    "noise of 10 levels": noise(10),
    "noise of 20 levels": noise(20),
    "noise of 40 levels": noise(40),
    "blurred, sigma 1 voxel": blur(1),
    "slices displaced by up to 1 voxel": jitter(1),
    "slices displaced by up to 3 voxels": jitter(3),
    "every 8th slice black": lambda volume, _: lost(volume, (LOST,)),
    "every 8th slice black, declared absent": lambda volume, _: lost(volume, (LOST,), MIDDLE),
    "every 8th slice repeated": repeated_slices,
    "one half black": black_half,
    "voxels 10 % smaller": resampled(1.1),
    "voxels 10 % larger": resampled(0.9),
}


def predicted(raw: Grey, engine: Engine, part: Box) -> Grey:
    """Predict a part of a volume, chunk by chunk; uint8 (classes, z, y, x)."""
    found = np.zeros((len(engine.spec.classes), *part.shape), np.uint8)
    grid = Grid(part.shape, CHUNK)
    for index in grid.indices():
        inside = grid.box(index)
        start, stop = (tuple(np.add(place, part.start).tolist()) for place in inside)
        core = Box(start, stop)
        block = core.grow(halo_of(engine.spec)).meet(Box((0, 0, 0), raw.shape))
        found[:, *inside.slices()] = predict(Patch(raw[block.slices()], block), core, engine)
    return found


def scored(volume: Volume, channel: int, engine: Engine, part: Box) -> Overlap:
    """Compare what a network finds in a part of a volume with truth."""
    inside = predicted(volume.raw, engine, part)[channel] >= LEVEL
    there = volume.scored[part.slices()]
    return count(volume.truth[part.slices()][there], inside[there])


def scaled(part: Box, shape: tuple[int, ...], raw: Grey) -> Box:
    """Return the part of a volume that is the given one of another shape; (z, y, x)."""
    share = np.divide(raw.shape, shape)
    start, stop = (tuple(np.rint(np.multiply(place, share)).astype(int).tolist()) for place in part)
    return Box(start, stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--box", help="the part that is scored, by default all")
    parser.add_argument("--only", help="a change by its name")
    parser.add_argument("--model", default="mito")
    parser.add_argument("--at", help="class; by default the network's first")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    engine = CpuEngine(find_model(given.model), threads=given.threads)
    channel = engine.spec.classes.index(given.at) if given.at else 0
    size = engine.spec.voxel_size_nm
    raw, truth = read(given.raw, "raw", size), read(given.truth, "labels", size)
    whole = Volume(raw, truth > 0, np.ones(raw.shape, np.bool_))
    part = _box(given.box) if given.box else Box((0, 0, 0), raw.shape)
    print("| change | Dice | precision | recall |\n|---|---|---|---|")
    for name, change in CHANGES.items():
        if given.only not in (None, name):
            continue
        volume = change(whole, np.random.default_rng(0))
        counts = scored(volume, channel, engine, scaled(part, raw.shape, volume.raw))
        found = scores(counts) if counts.size else {}  # of nothing a score would be 1
        keys = ("dice", "precision", "recall")
        row = " | ".join(f"{found[key]:.3f}" if found else "-" for key in keys)
        print(f"| {name} | {row} |", flush=True)


def _box(words: str) -> Box:
    axes = [tuple(map(int, axis.split(":"))) for axis in words.split(",")]
    (z0, z1), (y0, y1), (x0, x1) = axes
    return Box((z0, y0, x0), (z1, y1, x1))


def read(path: str, kind: Kind, voxel_size_nm: Size) -> NDArray[Any]:
    source = open_volume(path, kind=kind, voxel_size_nm=voxel_size_nm)
    return source.read(Box((0, 0, 0), source.shape))


if __name__ == "__main__":
    main()
