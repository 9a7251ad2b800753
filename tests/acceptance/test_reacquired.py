"""A chunk acquired again with other content redoes exactly its dependents; and back again."""

import numpy as np

from fibstream.core.grid import Grid, Index

from ..support.command import inside
from ..support.cone import check_cone, contents
from ..support.scene import SHAPE, blobs, save, whole
from ..support.services import rerun

CHUNKS = "12,15,18"  # the last slab is beyond the reach of every halo
CHANGED: Index = (0, 1, 1)
GRID = Grid(SHAPE, (12, 15, 18))


def other() -> np.ndarray:
    """Return the volume with other content in one chunk: an object that was not there."""
    raw = blobs()
    raw[GRID.box(CHANGED).slices()] = 230
    return raw


def test_a_b_a(scene, tmp_path) -> None:
    out = tmp_path / "a.zarr"
    raws = scene.raw, save(tmp_path / "b.npz", other())
    first = inside(*scene.run(out, "--bus", "memory:", "--chunk", CHUNKS))
    assert inside("verify", out, "--rebuild").code == 0
    of_a, landed = contents(out), {("raw", "raw", CHANGED)}

    report, computed = rerun(out, raws[1])
    of_b = contents(out)
    assert (report.labels_hash, report.tables_hash) == whole(other(), out) != first.hashes
    check_cone(out, of_a, of_b, computed, landed)

    report, computed = rerun(out, raws[0])
    assert (report.labels_hash, report.tables_hash) == first.hashes
    assert contents(out) == of_a
    check_cone(out, of_b, of_a, computed, landed)
