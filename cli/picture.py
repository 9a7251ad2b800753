"""A picture of a dataset: raw, prediction and labels, cut through the middle along three axes."""

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from fibstream.services.ingest.sources import open_volume
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fibstream.grid import Box
from fibstream.local import LocalFiles
from fibstream.loops import read_dataset

GAP = 6  # pixels between panels
ZOOM = 2
GOLDEN = 0.61803398875  # steps of hue by the golden ratio: neighbours in any order differ
VEIL = 0.55  # how much colour lies over the grey

Image_ = NDArray[np.uint8]


def paint(out: Path, target: Path) -> Path:
    """Write a PNG: rows raw, prediction, labels over raw; columns xy, xz, yz."""
    dataset = read_dataset(LocalFiles(out))
    organelle = dataset.organelles[0]
    grey = _read(out, "raw", "raw")
    low, high = dataset.contrast
    grey = np.clip((grey.astype(np.float64) - low) * 255 / (high - low), 0, 255).astype(np.uint8)
    prediction = _read(out, f"predictions/{organelle.source}", "prediction")
    labels = _read(out, f"labels/{organelle.recipe}", "labels")
    rows = [
        [_rgb(cut) for cut in _cuts(grey)],
        [_rgb(cut) for cut in _cuts(prediction)],
        [over(a, b) for a, b in zip(_cuts(grey), _cuts(labels), strict=True)],
    ]
    names = ["raw", f"predicted distance: {organelle.source}", f"labels: {organelle.recipe}"]
    image = _mosaic(rows, names)
    image.save(target)
    return target


def _read(out: Path, group: str, kind: Any) -> NDArray[Any]:
    source = open_volume(f"{out}/{group}/s0", kind=kind)
    volume = source.read(Box((0, 0, 0), source.shape))
    source.close()
    return volume


def _cuts(volume: NDArray[Any]) -> list[NDArray[Any]]:
    z, y, x = (n // 2 for n in volume.shape)
    return [volume[z], volume[:, y], volume[:, :, x]]


def _rgb(grey: Image_) -> Image_:
    return np.repeat(grey[..., None], 3, axis=-1)


def colours(ids: NDArray[np.uint64]) -> Image_:
    """Return a colour (n, 3) per id: the same for the same id in any picture."""
    found = []
    for number in ids.tolist():
        hue = (number % 100_003) * GOLDEN % 1
        found.append([255 * c for c in colorsys.hsv_to_rgb(hue, 0.75, 1.0)])
    return np.array(found, np.uint8).reshape(-1, 3)


def over(grey: Image_, labels: NDArray[np.uint64]) -> Image_:
    """Lay the colours of labels over a grey slice."""
    ids, where = np.unique(labels, return_inverse=True)
    veil = colours(ids)[where.reshape(labels.shape)].astype(np.float64)
    base = _rgb(grey).astype(np.float64)
    mixed = np.where(labels[..., None] > 0, (1 - VEIL) * base + VEIL * veil, base)
    return mixed.astype(np.uint8)


def _mosaic(rows: list[list[Image_]], names: list[str]) -> Image.Image:
    heights = [max(p.shape[0] for p in row) * ZOOM for row in rows]
    widths = [p.shape[1] * ZOOM for p in rows[0]]
    title = 16
    size = (
        sum(widths) + GAP * (len(widths) + 1),
        sum(heights) + (GAP + title) * len(rows) + GAP,
    )
    image = Image.new("RGB", size, (24, 24, 24))
    draw = ImageDraw.Draw(image)
    top = GAP
    for row, name, height in zip(rows, names, heights, strict=True):
        draw.text((GAP, top), name, fill=(230, 230, 230))
        left = GAP
        for panel, axes in zip(row, ("xy", "xz", "yz"), strict=True):
            big = Image.fromarray(panel).resize((panel.shape[1] * ZOOM, panel.shape[0] * ZOOM), 0)
            image.paste(big, (left, top + title))
            draw.text((left + 4, top + title + 2), axes, fill=(255, 255, 0))
            left += big.width + GAP
        top += height + title + GAP
    return image
