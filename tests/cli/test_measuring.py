"""`fibstream measure` on stored labels: the published rows, and objects at the limits."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.core.dataset import Dataset
from fibstream.core.stage import Block
from fibstream.core.subject import WHOLE
from fibstream.services.analysis.stages.tables import table_stage

from ..analysis.test_measure import published_shapes
from ..support.command import inside

PAPER = (
    "Object ID,Volume (nm^3),Surface Area (nm^2),COM X (nm),COM Y (nm),COM Z (nm),"
    "MIN X (nm),MIN Y (nm),MIN Z (nm),MAX X (nm),MAX Y (nm),MAX Z (nm),,Total Objects"
)
SIZE = (5.24, 4.0, 3.5)
ONE, BLOCK, SHELL = 2**63, 2**64 - 1, 1


def measured(folder: Path, labels: NDArray[Any], size: str, name: str, *more: str) -> Path:
    """Measure labels by the command; return the table that it wrote."""
    np.save(folder / "labels.npy", labels)
    given = ["--labels", folder / "labels.npy", "--voxel-size-nm", size]
    answer = inside("measure", *given, "--out", folder / name, *more)
    assert answer.code == 0, answer.err
    return folder / name


def test_the_published_rows_in_the_published_columns(tmp_path: Path) -> None:
    labels, count = ndimage.label(published_shapes())
    sizes = np.bincount(labels.ravel())
    labels[(sizes == 1)[labels]] = 0  # the paper's cutoff of one voxel
    out = measured(tmp_path, labels.astype(np.uint16), "4", "t.csv", "--profile", "cosem")
    header, *lines = out.read_text().splitlines()
    assert header == PAPER and count == 7
    rows = [line.split(",") for line in lines]
    assert [row[-2:] for row in rows] == [["", "6"], *[["", ""]] * 5]
    found = {tuple(round(float(cell), 3) for cell in row[1:6]): row for row in rows}
    published = [
        (6.59792e7, 1108832, 300, 200, 276), (10944, 6368, 540.842, 8, 300),
        (192, 224, 400, 396, 300),
    ]  # fmt: skip
    boxes = ndimage.find_objects(labels)
    for figures in published:
        row = found[figures]
        box = boxes[int(row[0]) - 1][::-1]
        assert [float(cell) for cell in row[6:12]] == [
            *(4.0 * part.start for part in box), *(4.0 * (part.stop - 1) for part in box)
        ]  # fmt: skip


def edges() -> NDArray[np.uint64]:
    """Return one voxel, a block, and an object over the whole border; ids of 63 and 64 bits."""
    labels = np.full((9, 10, 11), SHELL, np.uint64)
    labels[1:-1, 1:-1, 1:-1] = 0
    labels[3, 4, 5], labels[5:7, 5:8, 5:9] = ONE, BLOCK
    return labels


def test_extreme_ids_voxels_and_objects_are_right_in_every_form(tmp_path: Path) -> None:
    size = ",".join(map(str, SIZE))
    table = pq.read_table(measured(tmp_path, edges(), size, "t.parquet"))
    ids = [SHELL, ONE, BLOCK]
    assert table["id"].type == pa.uint64() and table["id"].to_pylist() == ids
    shell, one, block = table.to_pylist()
    z, y, x = SIZE
    assert one["volume_nm3"] == pytest.approx(z * y * x, rel=1e-15)
    assert one["area_nm2"] == pytest.approx(2 * (y * x + z * x + z * y), rel=1e-15)
    assert [one[f"centroid_{axis}_nm"] for axis in "zyx"] == [3 * z, 4 * y, 5 * x]
    assert [one[f"min_{a}"] for a in "zyx"] == [one[f"max_{a}"] for a in "zyx"] == [3, 4, 5]
    assert (one["radius_of_gyration_nm"], one["axis_major_nm"]) == (0, 0)
    assert (block["voxels"], block["touches_border"], one["touches_border"]) == (24, False, False)
    assert shell["touches_border"] and shell["voxels"] == edges().size - 7 * 8 * 9
    faces = 2 * (10 * 11 * y * x + 9 * 11 * z * x + 9 * 10 * z * y)
    assert shell["border_area_nm2"] == pytest.approx(faces, rel=1e-14)
    for more in ((), ("--profile", "cosem"), ("--profile", "cellmap")):
        out = measured(tmp_path, edges(), size, "t.csv", *more)
        (first, *rows) = csv.reader(out.read_text().splitlines())
        assert [row[0] for row in rows] == list(map(str, ids))
        column = next(n for n, name in enumerate(first) if name.lower().startswith("volume"))
        assert [float(row[column]) for row in rows] == table["volume_nm3"].to_pylist()


def test_labels_without_objects_have_a_header(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.uint8)
    assert pq.read_table(measured(tmp_path, labels, "4", "t.parquet")).num_rows == 0
    for more in ((), ("--profile", "cosem"), ("--profile", "cellmap")):
        assert measured(tmp_path, labels, "4", "t.csv", *more).read_text().count("\n") == 1


def test_its_parquet_says_of_itself_what_that_of_a_dataset_says(tmp_path: Path) -> None:
    schema = pq.read_schema(measured(tmp_path, edges(), ",".join(map(str, SIZE)), "t.parquet"))
    dataset = Dataset(
        name="cell", shape=(9, 10, 11), chunk=(9, 10, 11), dtype="float32", voxel_size_nm=SIZE,
        contrast=(0, 1),
    )  # fmt: skip
    stage = table_stage(dataset, "mito")
    nothing: Any = {source.name: {} for source in stage.inputs}
    made = stage.compute(Block(WHOLE, dataset.grid.volume, {}, cells=nothing, grid=dataset.grid))
    other = pq.read_schema(pa.BufferReader(made["tables/mito.parquet"]))
    assert [(f.name, f.type, f.metadata) for f in schema] == [
        (f.name, f.type, f.metadata) for f in other
    ]
    assert schema.field("area_nm2").metadata[b"unit"] == b"nm2"
    assert schema.metadata | {b"organelle": b"mito"} == other.metadata
