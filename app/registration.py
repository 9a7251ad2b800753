"""Pictures and the page of a registration: the light over the specimen, and what is known of it."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from .drawing import DARK, GAP, PANEL, TITLE, Panel, Rgb, bar, nearest, write

CUTS = (("xy", 0), ("xz", 1), ("yz", 2))  # what a cut shows, and the axis (z, y, x) that it fixes
BRIGHT = 99.8  # per cent of the voxels are darker than white
DARKEST = 2.0
SPECIMEN_COLOUR, LIGHT_COLOUR = (1.0, 0.0, 1.0), (0.0, 1.0, 0.0)  # where they agree: white

Size = tuple[float, float, float]


class Overlay(NamedTuple):
    """Two volumes on one grid, (z, y, x): what the specimen would look like, and the light."""

    specimen: NDArray[np.float32]
    light: NDArray[np.float32]
    voxel_nm: Size


def draw_overlay(both: Overlay) -> Pillow.Image:
    """Draw three cuts through the middle: specimen in magenta, light in green, both."""
    shown = [stretched(v) for v in (both.specimen, both.light)]
    rows = [[cut_panel(tint, axis, both.voxel_nm) for tint in _tints(shown)] for _, axis in CUTS]
    wide = max(p.image.width for row in rows for p in row)
    high = [max(p.image.height for p in row) + TITLE + GAP for row in rows]
    image = Pillow.new("RGB", (3 * (wide + GAP) + GAP, sum(high) + GAP), DARK)
    draw = ImageDraw.Draw(image)
    top = GAP
    for (cut, _), row, step in zip(CUTS, rows, high, strict=True):
        names = ("specimen, as light", "light, warped", "both: white where they agree")
        for n, (panel, name) in enumerate(zip(row, names, strict=True)):
            left = GAP + n * (wide + GAP)
            write(draw, (left, top), f"{cut}  {name}")
            image.paste(panel.image, (left, top + TITLE))
            bar(draw, left, top + TITLE, panel)
        top += step
    return image


def stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values of 0 to 1 between the 2nd and the 99.8th percentile."""
    low, high = np.percentile(values, [DARKEST, BRIGHT])
    return np.asarray(((values - low) / max(float(high - low), 1e-12)).clip(0, 1), np.float32)


def _tints(shown: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Return three volumes with colours (z, y, x, 3) of 0 to 1."""
    a, b = (
        volume[..., None] * np.array(colour, np.float32)
        for volume, colour in zip(shown, (SPECIMEN_COLOUR, LIGHT_COLOUR), strict=True)
    )
    return [a, b, a + b]


def cut_panel(
    volume: NDArray[np.float32], axis: int, voxel_nm: Size, longest: int = PANEL
) -> Panel:  # fmt: skip
    """Return the cut through the middle of colours (z, y, x, 3)."""
    plane = np.take(volume, volume.shape[axis] // 2, axis=axis)
    return panel_of(plane, axis, voxel_nm, longest)


def panel_of(
    plane: NDArray[np.float32], axis: int, voxel_nm: Size, longest: int = PANEL
) -> Panel:  # fmt: skip
    """Return colours (rows, columns, 3) of 0 to 1 with square pixels; ``axis`` is across them."""
    steps = [nm for a, nm in enumerate(voxel_nm) if a != axis]
    edges = [nm * n for nm, n in zip(steps, plane.shape[:2], strict=True)]
    per_nm = longest / max(edges)
    high, wide = (max(1, round(edge * per_nm)) for edge in edges)
    where = np.ix_(nearest(high, plane.shape[0]), nearest(wide, plane.shape[1]))
    pixels: Rgb = np.asarray(np.round(plane[where] * 255), np.uint8)
    return Panel(Pillow.fromarray(pixels), per_nm)


class Picture(NamedTuple):
    """A picture of a page: its file, its title, and what it shows."""

    path: Path
    title: str
    caption: str


def write_page(path: Path, facts: Mapping[str, Any], pictures: Sequence[Picture]) -> None:
    """Write a page that needs no other file: the judgement first, then pictures, then all facts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    page = environment.get_template("registration.html").render(
        **facts, facts=json.dumps(facts, indent=1),
        pictures=[(one.title, _inlined(one.path), one.caption) for one in pictures],
    )  # fmt: skip
    path.write_text(page)


def _inlined(path: Path) -> str:
    image = Pillow.open(io.BytesIO(path.read_bytes()))
    kind = (image.format or "png").lower()
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode()
