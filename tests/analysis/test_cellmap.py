"""The cellmap profile equals what cellmap-analyze 0.6.2 writes, to 1e-6.

Its output for `scene` is kept below.  It is also run anew, on that and on noise, in an environment
of its own that is made once (docs/testing.md).
"""

import csv
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from fibstream.core.grid import Grid
from fibstream.core.stage import Patch
from fibstream.services.analysis.conventions import HALO
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.profiles import PROFILES
from fibstream.services.analysis.table import finish
from fibstream.services.analysis.totals import merge

from ..support import cellmap
from ..support.command import inside
from ..support.patience import PATIENCE_S

SIZE, PLACE = (5.24, 4.0, 3.5), (100.0, 20.5, 7.0)
PEER = """
import sys
from cellmap_analyze.analyze.measure import Measure
labels, raw, out = sys.argv[1:]
Measure(labels, out, num_workers=1, raw_path=raw).get_measurements()
"""
PEER_SITES = """
import sys
from cellmap_analyze.analyze.measure import Measure
sites, a, b, out = sys.argv[1:]
Measure(
    sites, out, num_workers=1, organelle_1_path=a, organelle_2_path=b
).get_measurements()
"""
GOLDEN = """\
Object ID,Volume (nm^3),Surface Area (nm^2),Radius of Gyration (nm),COM X (nm),COM Y (nm),\
COM Z (nm),MIN X (nm),MIN Y (nm),MIN Z (nm),MAX X (nm),MAX Y (nm),MAX Z (nm),\
Principal Axis Length 1 (nm),Principal Axis Length 2 (nm),Principal Axis Length 3 (nm),\
Elongation,Flatness,Principal Axis 1 X,Principal Axis 1 Y,Principal Axis 1 Z,Mean Intensity,\
Std Intensity
7,23328.480000000003,5348.0,15.240273992376626,26.040880503144653,48.147798742138356,\
111.7158490566036,17.5,28.5,100.0,35.0,64.5,126.19999999999999,50.98975233833662,\
36.56547092326275,26.614479515657877,1.394478207195664,1.373893894928529,\
0.007459745038452065,0.9453941790394931,0.3258438252325862,132.55345911949686,\
75.15800110130607
300,44749.6,11904.799999999996,32.79979775117677,55.51229508196724,48.43442622950819,\
131.44000000000008,7.0,20.5,120.96,101.5,80.5,141.92000000000002,141.513153704579,\
33.140669878554576,19.805503753930594,4.270075234542937,1.673306081496538,\
0.8674834555278506,0.4974660333987233,-7.747992910055083e-15,132.7983606557377,\
70.46275842728133
1099511627776,63676.48,12578.800000000008,20.23520931081858,76.99999999999997,84.5,\
168.11999999999983,59.5,64.5,141.92000000000002,94.5,104.5,194.32,63.53261943852342,\
48.49818277749065,42.43590993030536,1.31000000000022,1.1428571428571148,\
2.440955115800695e-13,2.80788237936708e-13,1.0,122.27304147465438,75.57338644440715
"""


def scene() -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Return a box at the border, a slanted bar that touches it, and a ball with a cavity."""
    z, y, x = np.ogrid[:20, :24, :28]
    labels = np.zeros((20, 24, 28), np.uint64)
    labels[:6, 2:12, 3:9] = 7
    labels[np.broadcast_to((abs(z - 6) < 3) & (abs(2 * y - x) < 5), labels.shape)] = 300
    far = (z - 13) ** 2 + (y - 16) ** 2 + (x - 20) ** 2
    labels[(far < 36) & (far > 3)] = 2**40
    return labels, ((31 * z + 17 * y * y + 7 * x) % 251).astype(np.uint8)


def ours(labels: NDArray[Any], raw: NDArray[Any]) -> bytes:
    """Return the table as the profile writes it, measured in chunks."""
    grid = Grid(labels.shape, (7, 9, 11))
    parts = []
    for index in grid.indices():
        core, box = grid.box(index), grid.block(index, HALO)
        parts.append(measure(Patch(labels[box.slices()], box), core, raw[core.slices()]))
    return PROFILES["cellmap"].objects(finish(merge(parts), SIZE, raw=True), SIZE, PLACE)


def numbers(text: str) -> list[float]:
    """Return the numbers of a list in a cell; the peer's are ``np.float64(5.0)``."""
    return [float(n) for n in re.findall(r"\d+(?:\.\d*)?(?:e[+-]?\d+)?(?=\)?[,\]])", text)]


def compare(found: str, expected: str) -> None:
    """Hold each cell against the peer's; a peer's cell that is noise is left out."""
    one, other = (list(csv.DictReader(io.StringIO(text))) for text in (found, expected))
    assert len(one) == len(other) > 0
    assert list(one[0]) == list(other[0])
    for row, theirs in zip(one, other, strict=True):
        assert row["Object ID"] == theirs["Object ID"]
        for name in row:
            if name.startswith("Contacting"):
                assert numbers(row[name]) == pytest.approx(numbers(theirs[name]), rel=1e-6), name
                continue
            assert float(row[name]) == pytest.approx(float(theirs[name]), rel=1e-6, abs=1e-6), name


def test_the_rows_that_cellmap_analyze_wrote() -> None:
    compare(ours(*scene()).decode(), GOLDEN)


def test_a_table_without_objects_is_its_header_and_what_has_no_ratio_is_empty() -> None:
    labels = np.zeros((3, 3, 9), np.uint64)
    assert ours(labels, labels.astype(np.uint8)).decode().count("\n") == 1
    labels[1, 1, 1:5] = 3
    (row,) = csv.DictReader(io.StringIO(ours(labels, labels.astype(np.uint8)).decode()))
    assert (row["Elongation"], row["Flatness"], row["Principal Axis 1 X"]) == ("", "", "1.0")


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_cellmap_analyze_writes_the_same_now(seed: int | None, tmp_path: Path) -> None:
    program = cellmap.python()
    labels, raw = scene()
    if seed is not None:
        chance = np.random.default_rng(seed)
        labels = chance.integers(0, 5, (17, 13, 19)).astype(np.uint64)
        raw = chance.integers(0, 250, labels.shape).astype(np.uint8)
    paths = [write(tmp_path / name, a) for name, a in (("labels", labels), ("raw", raw))]
    peer = [program, "-c", PEER, *paths, str(tmp_path / "out")]
    subprocess.run(peer, check=True, capture_output=True, timeout=PATIENCE_S)
    compare(ours(labels, raw).decode(), (tmp_path / "out" / "labels.csv").read_text())


def test_cellmap_analyze_measures_the_same_contacts(tmp_path: Path) -> None:
    """Its columns of what is in contact, of the sites that the command writes."""
    program = cellmap.python()
    z, y, x = np.ogrid[:18, :20, :26]
    a = np.where((z - 8) ** 2 + (y - 9) ** 2 + (x - 7) ** 2 < 16, 5, 0).astype(np.uint64)
    a[5:8, 4:12, 18:21] = 2**33
    b = np.where((z - 8) ** 2 + (y - 9) ** 2 + (x - 14) ** 2 < 14, 9, 0).astype(np.uint64)
    paths = [write(tmp_path / name, array) for name, array in (("a", a), ("b", b))]
    done = inside("contacts", "--a", paths[0], "--b", paths[1], "--distance-nm", 12, "--out",
                  tmp_path / "c.zarr", "--profile", "cellmap", "--chunk", "9,11,13")  # fmt: skip
    assert done.code == 0, done.err
    sites = zarr.open_array(tmp_path / "c.zarr/contacts/a--b/s0", mode="r")[:]
    peer = [program, "-c", PEER_SITES, write(tmp_path / "sites", np.asarray(sites)), *paths,
            str(tmp_path / "out")]  # fmt: skip
    subprocess.run(peer, check=True, capture_output=True, timeout=PATIENCE_S)
    found = (tmp_path / "c.zarr/contacts.csv").read_text()
    assert found.count("\n") > 2 and ",[5],[" in found and f",[{2**33}],[" in found
    compare(found, (tmp_path / "out" / "sites.csv").read_text())


def write(path: Path, array: NDArray[Any]) -> str:
    """Write an image of OME-NGFF 0.4; return the path of its level."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("s0", data=array, chunks=(8, 8, 8))
    axes: Any = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    given: Any = [{"type": "scale", "scale": SIZE}, {"type": "translation", "translation": PLACE}]
    levels: Any = [{"path": "s0", "coordinateTransformations": given}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "name": path.name, "axes": axes, "datasets": levels}
    ]
    return str(path / "s0")
