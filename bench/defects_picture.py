"""Make a picture of ``docs/networks.md``: what a network makes of real defects of acquisition.

``python -m bench.defects_picture VOLUME.tif FOLDER [--model NAME|FILE]``: three minutes.
Cuts along the direction of milling through the middle; as it is, and with black declared absent. A
volume whose voxel size is not known is taken to have the network's. There is no truth.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from fibstream.app.drawing import Rgb, edges, rgb
from fibstream.core.grid import Box
from fibstream.services.inference.edges.model import find_model, read_model
from fibstream.services.inference.polarity import LEVEL
from fibstream.volumes.sources import open_volume

from .phantom_pictures import page

PROGRAM = str(Path(sys.executable).with_name("fibstream"))
FOUND = (230, 159, 0)
ABSENT = "0"  # grey value


def predicted(volume: Path, model: str, *words: str) -> NDArray[np.uint8]:
    """Return the prediction of the network's first class, (z, y, x), as the command makes it."""
    spec = read_model(find_model(model))
    size = ",".join(f"{edge:g}" for edge in spec.voxel_size_nm)
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.zarr"
        given = ("--raw", str(volume), "--model", model, "--out", out, "--voxel-size-nm", size)
        subprocess.run([PROGRAM, "predict", *given, *words], check=True, stdout=subprocess.DEVNULL)
        source = open_volume(f"{out}#predictions/{spec.classes[0]}", kind="prediction")
        return np.asarray(source.read(Box((0, 0, 0), source.shape)))


def outlined(plane: NDArray[np.uint8], found: NDArray[np.uint8]) -> Rgb:
    """Return a plane of grey values with the outlines of what was found."""
    image = rgb(plane)
    image[edges((found >= LEVEL).astype(np.uint8))] = FOUND
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("volume", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mito")
    given = parser.parse_args()
    raw = tifffile.imread(given.volume)
    found = {
        "as it is": predicted(given.volume, given.model),
        "black declared absent": predicted(given.volume, given.model, "--absent-value", ABSENT),
    }
    nm = read_model(find_model(given.model)).voxel_size_nm[0]
    rows = []
    for axis, name in ((1, "z-x"), (2, "z-y")):
        plane = raw.take(raw.shape[axis] // 2, axis)
        panels = {name: rgb(plane)} | {
            title: outlined(plane, each.take(each.shape[axis] // 2, axis))
            for title, each in found.items()
        }
        rows.append(page(panels, nm, 2))
    picture = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for row, top in zip(rows, np.cumsum([0] + [row.height for row in rows]).tolist(), strict=False):
        picture.paste(row, (0, top))
    picture.save(given.folder / "defects.png", optimize=True)


if __name__ == "__main__":
    main()
