"""The work of `fibstream halves`: a prediction and labels against the truth, half by half."""

import logging
from contextlib import ExitStack, closing
from pathlib import Path

import pyarrow as pa

from fibstream.app.cells.halves import SCHEMA, Read, deviations, draw
from fibstream.app.charts import as_png
from fibstream.app.truths import open_truth
from fibstream.core.errors import WrongUse
from fibstream.volumes.lengths import Size
from fibstream.volumes.positions import check_same_grid
from fibstream.volumes.sources import Source, open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from .comparing import both, check_out, write_all
from .progress import track

log = logging.getLogger(__name__)


def compare_halves(
    truth: str, prediction: str | None, labels: str | None, out: Path, *, threshold: float,
    voxel_size_nm: Size | None,
) -> list[Path]:  # fmt: skip
    """Write deviations in the halves of a volume, and their figure; return the files.

    Raises WrongUse unless all volumes have one shape, voxel size and place.
    """
    given: dict[str, tuple[str | None, Kind]] = {
        "raw": (prediction, "prediction"), "refined": (labels, "labels"),
    }  # fmt: skip
    check_out(out, [])
    if not 0 < threshold <= 255:
        raise WrongUse(f"--threshold {threshold:g}: expected a grey level, above 0, up to 255")
    with ExitStack() as stack:
        opened: dict[str, Source] = {}
        for test, (path, kind) in given.items():
            if path is not None:
                source = open_volume(path, kind=kind, voxel_size_nm=voxel_size_nm)
                opened[test] = stack.enter_context(closing(source))
        if not opened:
            raise WrongUse("halves: give --prediction, --labels, or both")
        first, *others = opened.values()
        for other in others:
            check_same_grid(first, other)
        right = stack.enter_context(closing(open_truth(truth, first)))
        tests = {
            test: _inside(source, threshold if test == "raw" else 1)
            for test, source in opened.items()
        }
        size = first.voxel_size_nm
        rows = deviations(_inside(right, 1), tests, first.shape, size, track)
    if not any(row["truth"] for row in rows):
        log.warning("%s: nothing is inside: no deviation is known", truth)
    table = pa.Table.from_pylist(rows, SCHEMA)
    name = Path(truth.partition("#")[0]).stem
    return write_all(out, {**both("halves", table), "halves.png": as_png(draw(rows, name))})


def _inside(source: Source, least: float) -> Read:
    return lambda box: source.read(box) >= least
