"""Compile kernels once, so that no test, demo or first run waits for the compiler.

Those of the phantom, of agglomeration, contacts and distances take minutes and no demo needs them:
``--rest`` compiles them alone.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.kernels.components import find_components, mark_within
from fibstream.kernels.contacts import nearest
from fibstream.kernels.distance import distance_bytes
from fibstream.kernels.edt import across_planes, picometres, plane_squares
from fibstream.kernels.mapping import encode_mapping
from fibstream.kernels.near import footprint
from fibstream.kernels.relabel import relabel
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.services.analysis.measure import measure

EDGE = 32  # voxels: the kernels do not depend on it
VOXEL = (10.0, 10.0, 10.0)  # nm


def run(*arguments: str | Path) -> None:
    """Run one command of the installed fibstream."""
    command = Path(sys.executable).with_name("fibstream")
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)


def phantom() -> None:
    """Make a tiny phantom with all that belongs to one, and one field of distances."""
    with tempfile.TemporaryDirectory() as name:
        size = ("--size", str(EDGE), "--voxel-size-nm", "10")
        run("phantom", "--out", Path(name) / "cell.zarr", *size, "--light", "sim,palm")
        run("phantom", "--out", Path(name) / "near.zarr", *size, "--predictions", "--noise-nm", "8")
    tiny = Phantom(PhantomSpec((EDGE,) * 3, VOXEL))
    tiny.distances("nucleus", Box((0, 0, 0), (EDGE,) * 3))


def distances() -> None:
    """Measure distances in a ball, and what is near it."""
    ball = (np.square(np.indices((EDGE,) * 3) - EDGE // 2).sum(0) < EDGE).astype(bool)
    box, edges = Box((0, 0, 0), ball.shape), picometres(VOXEL, ball.shape)
    across_planes(plane_squares(ball, edges), edges)
    distance_bytes(ball, box, box, VOXEL, 50.0)
    nearest(ball.astype(np.uint64), footprint(20.0, VOXEL))
    mark_within(find_components(ball, 6, background=False, core=ball.shape), box)


def chunks() -> None:
    """Name and measure a chunk as services have it, cut out of its surroundings.

    Arrays that are parts of others, and those that are not to be written into, are other machine
    code; commands on small volumes have neither.
    """
    labels = (np.indices((EDGE,) * 3)[0] // 4).astype(np.uint64)
    whole = Box((0, 0, 0), labels.shape)
    for dtype in (np.uint8, np.uint16):
        for core in (whole, Box(whole.start, (EDGE - 1,) * 3)):
            measure(Patch(labels, whole), core, np.zeros(core.shape, dtype))
    ids = np.unique(labels[labels > 0])
    for writable in (True, False):
        ids.flags.writeable = writable
        relabel(labels, ids, encode_mapping(ids, ids))


def refine(folder: Path, organelle: str, *settings: str) -> Path:
    """Write noise, and objects that are made of it; return the labels."""
    noise = np.random.default_rng(0).integers(0, 256, (EDGE, EDGE, EDGE), np.uint8)
    np.save(folder / "noise.npy", noise)
    labels = folder / "labels.zarr"
    words = [word for setting in ("min_volume_nm3=0", *settings) for word in ("--set", setting)]
    run("refine", "--prediction", f"mito={folder / 'noise.npy'}", "--organelle", organelle, *words,
        "--out", labels, "--voxel-size-nm", "10")  # fmt: skip
    return labels


def objects() -> None:
    """Agglomerate noise, and find where its objects are near each other."""
    with tempfile.TemporaryDirectory() as name:
        labels = refine(Path(name), "agglomerated", "smooth_nm=20", "fill_holes=one")
        for kind in ("naive", "refined"):
            run("contacts", "--a", labels, "--b", labels, "--distance-nm", "10", "--kind", kind,
                "--out", Path(name) / kind)  # fmt: skip


def main() -> None:
    """Refine and measure noise: between them these call all kernels of the demo."""
    if "--rest" in sys.argv:
        phantom()
        objects()
        distances()
        return
    chunks()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = refine(folder, "mito")
        run("measure", "--labels", labels, "--raw", folder / "noise.npy",
            "--out", folder / "table.csv", "--voxel-size-nm", "10")  # fmt: skip


if __name__ == "__main__":
    main()
