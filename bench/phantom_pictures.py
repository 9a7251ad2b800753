"""Make the two pictures of ``docs/phantom.md`` that no command makes: micrographs with scale bars.

Run: ``python bench/phantom_pictures.py docs/pictures``: half a minute of one core. Without a folder
nothing is written.
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fibstream.app.drawing import DARK, GAP, TITLE, Panel, bar, rgb, write
from fibstream.core.grid import Box
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.spec import LOOKS, ORGANELLES

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "samples" / "flyem_medulla.tif"
CULTURE = PhantomSpec((512, 512, 512), (4.0, 4.0, 4.0), seed=2)
TISSUE = PhantomSpec(
    (100, 200, 200), (10.0, 10.0, 10.0), seed=1, look=LOOKS["flyem"], tissue=True,
    organelles=tuple(name for name in ORGANELLES if name != "nucleus"),  # neurites have none
)  # fmt: skip
DEEP = 420  # voxels of a plane of the culture that are shown, from the top


def plane(cell: Phantom, z: int) -> NDArray[np.uint8]:
    """Return a slice of a micrograph as (y, x)."""
    _, y, x = cell.spec.shape
    return cell.micrograph(Box((z, 0, 0), (z + 1, y, x)))[0]


def page(planes: dict[str, NDArray[np.uint8]], nm: float, zoom: int) -> Image.Image:
    """Lay planes of one voxel size, grey or in colours, side by side with titles and scale bars."""
    panels = []
    for plane in planes.values():
        image = Image.fromarray(plane if plane.ndim > 2 else rgb(plane))
        size = image.width * zoom, image.height * zoom
        panels.append(Panel(image.resize(size, Image.Resampling.NEAREST), zoom / nm))
    width = GAP + sum(panel.image.width + GAP for panel in panels)
    height = TITLE + max(panel.image.height for panel in panels) + GAP
    picture = Image.new("RGB", (width, height), DARK)
    draw, left = ImageDraw.Draw(picture), GAP
    for title, panel in zip(planes, panels, strict=True):
        write(draw, (left, 3), title)
        picture.paste(panel.image, (left, TITLE))
        bar(draw, left, TITLE, panel)
        left += panel.image.width + GAP
    return picture


def main() -> None:
    """Write both pictures."""
    if len(sys.argv) < 2:
        print("skipped: no folder was given")
        return
    folder = Path(sys.argv[1])
    culture, tissue = Phantom(CULTURE), Phantom(TISSUE)
    cells = {f"synthetic, z = {z}": plane(culture, z)[:DEEP] for z in (128, 400)}
    page(cells, 4.0, 1).save(folder / "phantom_cell.png", optimize=True)
    real = tifffile.imread(SAMPLE)
    both = {"real: fly medulla": real[len(real) // 2], "synthetic": plane(tissue, 50)}
    page(both, 10.0, 2).save(folder / "phantom_tissue.png", optimize=True)


if __name__ == "__main__":
    main()
