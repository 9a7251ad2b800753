"""Contact sites: CPU seconds and memory of whole processes, cellmap-analyze's beside ours.

Run: ``python -m bench.contacts [--size N] [--distance-nm D] [--peer PYTHON]``, PYTHON of an
environment that has cellmap-analyze. One worker each, on the same Zarr arrays of ellipsoids of 4 nm
in chunks of 128; the second run counts, when all code is compiled. What is found differs: the
peer's distance has no further voxel, its surface 6 neighbours, its contacts are not told apart by
pair, and it makes neither tables, matrix, gaps nor pictures.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from .measures import PROGRAM, cpu_of, ellipsoids, write

PEER = """
import sys
from cellmap_analyze.process.contact_sites import ContactSites
a, b, out, distance = sys.argv[1:]
ContactSites(
    a, b, out, float(distance), minimum_volume_nm_3=0, num_workers=1
).get_contact_sites()
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--distance-nm", type=float, default=32)
    parser.add_argument("--peer", help="the Python that has cellmap-analyze")
    given = parser.parse_args()
    labels, _ = ellipsoids(given.size)
    side = labels * (labels % 2), labels * (1 - labels % 2)  # every other object
    with tempfile.TemporaryDirectory() as folder:
        a, b = (write(Path(folder, n), s) for n, s in zip("ab", side, strict=True))
        command = [PROGRAM, "contacts", "--a", a, "--b", b, "--chunk", "128"]
        command += ["--distance-nm", f"{given.distance_nm:g}"]
        lines = {
            kind: [*command, "--kind", kind, "--out", f"{folder}/{kind}.zarr"]
            for kind in ("refined", "naive")
        }
        if given.peer:
            out = f"{folder}/peer.zarr/contacts"
            lines["peer"] = [given.peer, "-c", PEER, a, b, out, f"{given.distance_nm:g}"]
        print(f"{given.size} voxels an edge, {len(np.unique(labels)) - 1} objects")
        seconds = {}
        for name, line in lines.items():
            cpu_of(line)
            seconds[name], peak = cpu_of(line)
            print(f"  {name:8s} {seconds[name]:6.1f} s of CPU, {peak:5.0f} MiB at most", flush=True)
        for kind in ("refined", "naive") if given.peer else ():
            print(f"  peer / {kind}: {seconds['peer'] / seconds[kind]:.1f}")


if __name__ == "__main__":
    main()
