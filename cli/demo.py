"""`fibstream demo`: the sample streams in random order, and is compared with the whole volume."""

from collections.abc import Sequence
from pathlib import Path

import typer

from fibstream.app.engines import engine_of
from fibstream.app.reference import absent_of, labels_of, prediction_of, table_of
from fibstream.app.report import write_report
from fibstream.app.rows import Row, rows_of
from fibstream.core.grid import Box
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.table import rows_hash
from fibstream.services.refine.recipes.generic import rule_of
from fibstream.store.local import LocalFiles
from fibstream.store.published import labels_hash, tables_hash
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import open_volume

from .streaming import stream

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "flyem_medulla.tif"
CREDIT = (
    "FIB-SEM of the fly medulla, FlyEM, CC BY: Parag et al., PLoS ONE 10(5): e0125825 (2015), "
    "doi:10.1371/journal.pone.0125825"
)
SEED = 1  # of the order in which chunks land
ROWS = 8  # of the table that are printed


def run_demo(folder: Path, settings: Settings) -> bool:
    """Run the demo; return whether the streamed result is that of the whole volume."""
    out = folder / "sample.zarr"
    folder.mkdir(parents=True, exist_ok=True)
    typer.echo(
        f"{SAMPLE.name}: FIB-SEM of the fly medulla (FlyEM, CC BY); its chunks land in random order"
    )
    report = stream(
        raw=str(SAMPLE), pipeline="mito", out=out, voxel_size_nm=None, chunk=None, order="random",
        seed=SEED, bus=None, contrast=None, invert=False, settings=settings, quiet=False,
    )  # fmt: skip
    if report.failed:
        typer.echo(f"different: {len(report.failed)} chunks failed: {report.failed[0]['reason']}")
        return False
    found = rows_of(out / "tables" / "mito.parquet")
    assert report.labels_hash is not None and report.tables_hash is not None
    hashes = report.labels_hash, report.tables_hash
    written = write_report(out, folder, hashes=hashes, credit=CREDIT)
    typer.echo(f"{report.chunks_computed} stage outputs computed in {report.seconds:.1f} s; "
        f"{shown(len(found))} mitochondria:")  # fmt: skip
    typer.echo(head(found))
    typer.echo(f"page:    {written.page}\npicture: {written.pictures[0]}")
    typer.echo(f"table:   {out / 'tables' / 'mito.parquet'}\ndataset: {out}")
    typer.echo("computing the whole volume as one block, by other code ...")
    labels, tables = whole(out, settings.threads)
    same = (labels, tables) == (report.labels_hash, report.tables_hash)
    if same:
        typer.echo(f"identical: labels {labels}, tables {tables}")
    else:
        typer.echo(f"different: labels {report.labels_hash} and {labels}, "
            f"tables {report.tables_hash} and {tables}")  # fmt: skip
    return same


def shown(count: int) -> str:
    """Return which of ``count`` rows are printed."""
    return f"the largest {ROWS} of {count}" if count > ROWS else str(count)


def head(rows: Sequence[Row]) -> str:
    """Return the first rows of a table as text."""
    lines = [f"{'id':>20} {'voxels':>8} {'volume µm³':>11} {'area µm²':>9}  centroid z,y,x nm"]
    for row in rows[:ROWS]:
        centroid = ", ".join(f"{row[f'centroid_{axis}_nm']:.0f}" for axis in "zyx")
        border = "  (cut by the border)" if row["touches_border"] else ""
        lines.append(
            f"{row['id']:>20} {row['voxels']:>8} {row['volume_nm3'] / 1e9:>11.4f} "
            f"{row['area_nm2'] / 1e6:>9.3f}  {centroid}{border}"
        )
    return "\n".join(lines)


def whole(out: Path, threads: int) -> tuple[str, str]:
    """Return the hashes of the sample computed as one block, from the source alone."""
    dataset = read_dataset(LocalFiles(out))
    (organelle,), (model,) = dataset.organelles, dataset.models
    source = open_volume(str(SAMPLE), kind="raw")
    raw = source.read(Box((0, 0, 0), source.shape))
    source.close()
    engine = engine_of(out / model.path, model, threads)
    prediction = prediction_of(raw, dataset, engine)[0]
    labels = labels_of(prediction, rule_of(dataset, organelle), absent_of(raw, dataset))
    table = table_of(labels, raw, dataset.voxel_size_nm)
    volumes = {organelle.name: (source.shape, lambda box: labels[box.slices()])}
    return labels_hash(volumes), tables_hash({organelle.name: rows_hash(table)})
