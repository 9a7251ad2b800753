"""Compile kernels once, so that no test, demo or first run waits for the compiler.

Those of the phantom take a minute and no demo needs them: ``--phantom`` compiles them alone.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fibstream.core.grid import Box
from fibstream.phantom import Phantom, PhantomSpec

EDGE = 32  # voxels: the kernels do not depend on it


def run(*arguments: str | Path) -> None:
    """Run one command of the installed fibstream."""
    command = Path(sys.executable).with_name("fibstream")
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)


def phantom() -> None:
    """Make a tiny phantom with all that belongs to one, and one field of distances."""
    with tempfile.TemporaryDirectory() as name:
        size = ("--size", str(EDGE), "--voxel-size-nm", "10")
        run("phantom", "--out", Path(name) / "cell.zarr", *size, "--light", "sim,palm")
    tiny = Phantom(PhantomSpec((EDGE,) * 3, (10.0,) * 3))
    tiny.distances("nucleus", Box((0, 0, 0), (EDGE,) * 3))


def main() -> None:
    """Refine and measure noise: between them these call all kernels but the phantom's."""
    if "--phantom" in sys.argv:
        phantom()
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise = np.random.default_rng(0).integers(0, 256, (EDGE, EDGE, EDGE), np.uint8)
        np.save(folder / "noise.npy", noise)
        given = ("--voxel-size-nm", "10")
        prediction = f"mito={folder / 'noise.npy'}"
        labels = folder / "labels.zarr"
        run("refine", "--prediction", prediction, "--organelle", "mito",
            "--set", "min_volume_nm3=0", "--out", labels, *given)  # fmt: skip
        run("measure", "--labels", labels, "--raw", folder / "noise.npy",
            "--out", folder / "table.csv", *given)  # fmt: skip


if __name__ == "__main__":
    main()
