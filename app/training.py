"""Pictures of training: the curve of the loss, classes and crops, an example of each class."""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from fibstream.kernels.schema.classes import FINE_IDS, FINE_NAMES, super_class
from fibstream.kernels.schema.shares import COLUMNS, CropCounts, frequencies, rows
from fibstream.services.inference.training.crops import Crop

from .drawing import DARK, GAP, LIGHT, Colour, Panel, bar, over, rgb, write

WIDTH, HEIGHT = 900, 420  # of the curve
ROW, NAME = 18, 275  # pixels: a line of the chart; its names
BAR = 420
CELL = 14  # pixels of a crop and class
LINE, FAINT = (86, 180, 233), (70, 70, 70)  # Okabe and Ito
STATES: tuple[tuple[str, Colour], ...] = (
    ("drawn", (0, 158, 115)),
    ("known to be absent", LINE),
    ("not annotated", (60, 60, 60)),
)
MOST_CROPS = 40  # that are drawn; the table has all
TILE = 150  # pixels of an example
ACROSS = 5  # examples beside each other
LEAST, MOST = 24, 128  # voxels an edge of an example
AROUND = 64  # voxels in which the size of an example is measured


def draw_curve(curve: Sequence[tuple[int, float]], name: str) -> Image.Image:
    """Draw the loss over steps; losses are on a logarithmic axis."""
    image = Image.new("RGB", (WIDTH, HEIGHT), DARK)
    draw = ImageDraw.Draw(image)
    write(draw, (GAP, 3), f"{name}: loss over steps", size=15)
    points = [(step, loss) for step, loss in curve if loss > 0]
    if len(points) < 2:
        write(draw, (60, 60), "too few steps for a curve")
        return image
    low, high = (math.log10(f(loss for _, loss in points)) for f in (min, max))
    low, high = low - 0.05, high + 0.05
    left, right, top, bottom = 70, WIDTH - 20, 40, HEIGHT - 40
    last = points[-1][0]

    def place(step: float, level: float) -> tuple[float, float]:
        x = left + (right - left) * step / last
        return x, bottom - (bottom - top) * (level - low) / (high - low)

    for level in _levels(low, high):
        y = place(0, math.log10(level))[1]
        draw.line((left, y, right, y), fill=FAINT)
        write(draw, (6, y - 8), f"{level:g}", size=13)
    for share in range(5):
        x = place(last * share / 4, low)[0]
        write(draw, (min(x - 8, WIDTH - 70), bottom + 8), f"{round(last * share / 4):,}", size=13)
    draw.line([place(step, math.log10(loss)) for step, loss in points], fill=LINE, width=2)
    return image


def _levels(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of ten, at most a dozen."""
    steps: tuple[float, ...] = (1, 2, 5) if high - low < 3 else (1,)
    if high - low < 0.5:
        steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    every = [s * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for s in steps]
    return [level for level in every if low <= math.log10(level) <= high][:12]


def shares_csv(crops: Sequence[CropCounts], classes: Sequence[str]) -> str:
    """Return the table of classes and crops as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(crops, classes):
        writer.writerow({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue()


def draw_shares(crops: Sequence[CropCounts], classes: Sequence[str]) -> Image.Image:
    """Draw how frequent each fine class is, what each crop has of it, and what it may train."""
    shown = list(crops)[:MOST_CROPS]
    left = NAME + BAR + 90
    width = left + max(CELL * len(shown), 230) + 3 * GAP
    lines = FINE_IDS + len(classes) + 3
    image = Image.new("RGB", (width, 60 + ROW * lines + 60), DARK)
    draw = ImageDraw.Draw(image)
    total = sum(crop.annotated for crop in crops)
    write(
        draw,
        (GAP, 3),
        f"Classes in {len(crops)} crop{'s' * (len(crops) != 1)}, {total:,} annotated voxels",
        size=15,
    )
    write(draw, (NAME, 28), "share of annotated voxels (logarithmic)", size=13)
    write(draw, (left, 28), "crops", size=13)
    share = frequencies(crops)
    for i, name in enumerate(FINE_NAMES):
        y = 50 + ROW * i
        write(draw, (GAP, y), f"{i + 1} {name}", size=13)
        _bar(draw, y, float(share[i]))
        for k, crop in enumerate(shown):
            _cell(draw, left + CELL * k, y, STATES[_state(crop, i + 1)][1])
    y = 50 + ROW * FINE_IDS + ROW // 2
    write(draw, (GAP, y), "classes of the network", size=13, fill=LINE)
    write(draw, (left, y), "crops that train it", size=13, fill=LINE)
    for name in classes:
        y += ROW
        write(draw, (GAP, y), name, size=13)
        _bar(draw, y, sum(float(share[i - 1]) for i in super_class(name).ids))
        for k, crop in enumerate(shown):
            _cell(draw, left + CELL * k, y, STATES[0 if crop.record.trains(name) else 2][1])
    y += 2 * ROW
    write(draw, (GAP, y), "annotated of each crop", size=13)
    for k, crop in enumerate(shown):
        high = round((ROW + 12) * crop.annotated / max(sum(crop.voxels), 1))
        begin = left + CELL * k
        draw.rectangle((begin, y + 20 - high, begin + CELL - 3, y + 20), fill=LINE)
    x = float(NAME)
    for text, colour in STATES:
        _cell(draw, round(x), y, colour)
        write(draw, (x + CELL + 4, y), text, size=13)
        x += CELL + 24 + draw.textlength(text) * 1.3
    return image


def _state(crop: CropCounts, fine: int) -> int:
    if fine in crop.record.present_annotated and crop.voxels[fine]:
        return 0
    return 1 if fine in crop.record.annotated else 2


def _bar(draw: ImageDraw.ImageDraw, y: float, share: float) -> None:
    """Draw one bar, from a millionth to one."""
    if share <= 0:
        write(draw, (NAME, y), "none", size=13, fill=FAINT)
        return
    long = max(BAR * (6 + math.log10(share)) / 6, 1.0)
    draw.rectangle((NAME, y + 2, NAME + long, y + ROW - 4), fill=LINE)
    write(draw, (NAME + long + 5, y), f"{share:.2%}" if share >= 1e-4 else f"{share:.0e}", size=13)


def _cell(draw: ImageDraw.ImageDraw, x: float, y: float, colour: Colour) -> None:
    draw.rectangle((x, y + 2, x + CELL - 3, y + ROW - 4), fill=colour)


def draw_plate(crops: Sequence[Crop], voxel_nm: float) -> Image.Image:
    """Draw one example of each fine class that the crops have: grey, and the class over it."""
    known = [crop for crop in crops if crop.labels is not None]
    best = {}
    for i in range(1, FINE_IDS + 1):
        owners = [crop for crop in known if crop.counts and crop.counts.voxels[i]]
        if owners:
            best[i] = max(owners, key=lambda crop: crop.counts.voxels[i] if crop.counts else 0)
    down = -(-len(best) // ACROSS)
    high, wide = TILE + 22 + GAP, 2 * TILE + 2 * GAP
    image = Image.new("RGB", (ACROSS * wide + GAP, 30 + down * high), DARK)
    draw = ImageDraw.Draw(image)
    absent = [str(i) for i in range(1, FINE_IDS + 1) if i not in best]
    more = f"; none of {', '.join(absent)}" if absent else ""
    write(draw, (GAP, 5), f"{len(best)} of {FINE_IDS} fine classes{more}", size=15)
    for k, (i, crop) in enumerate(best.items()):
        left, top = GAP + k % ACROSS * wide, 30 + k // ACROSS * high
        write(draw, (left, top), f"{i} {FINE_NAMES[i - 1]}", size=14, fill=LIGHT)
        grey, own = _example(crop, i)
        for place, pixels in ((left, rgb(grey)), (left + TILE, over(rgb(grey), own * 1))):
            tile = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST)
            panel = Panel(tile, TILE / (grey.shape[0] * voxel_nm))
            image.paste(tile, (place, top + 20))
            if place == left:
                bar(draw, place, top + 20, panel)
    return image


def _example(crop: Crop, fine: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return grey values of a square around where a class is densest, and where it is in it."""
    assert crop.labels is not None
    labels = crop.labels[:: crop.factor, :: crop.factor, :: crop.factor]
    inside = labels == fine
    z = int(inside.sum(axis=(1, 2)).argmax())
    dense = ndimage.uniform_filter(inside[z].astype(np.float32), 9, mode="constant")
    dense[~inside[z]] = -1
    y, x = (int(n) for n in np.unravel_index(int(dense.argmax()), dense.shape))
    near = inside[
        z, max(y - AROUND // 2, 0) : y + AROUND // 2, max(x - AROUND // 2, 0) : x + AROUND // 2
    ]
    edge = min(max(round(3 * float(near.sum()) ** 0.5), LEAST), MOST, *labels.shape[1:])
    y, x = (
        min(max(c - edge // 2, 0), n - edge) for c, n in zip((y, x), labels.shape[1:], strict=True)
    )
    bz, by, bx = (a + b for a, b in zip(crop.begin, (z, y, x), strict=True))
    return crop.raw[bz, by : by + edge, bx : bx + edge], inside[z, y : y + edge, x : x + edge]
