"""Commands that stream a volume through all services on this machine."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fibstream.core.subject import named
from fibstream.runtime.checks import check_folder

from ..app import FAILED, resumable, settings, voxel_size
from ..options import (
    AbsentMask,
    AbsentValue,
    AutoContrast,
    Backend,
    Chunk,
    Downsample,
    Invert,
    Json,
    LandingOrder,
    Out,
    Pattern,
    Pipeline,
    Precision,
    Raw,
    Seed,
    Tile,
    Voxel,
)


@resumable
def run(
    raw: Raw,
    pipeline: Pipeline,
    out: Out,
    voxel_size_nm: Voxel = None,
    pattern: Pattern = None,
    chunk: Chunk = None,
    order: LandingOrder = "raster",
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option(help="Worker processes per service.")] = None,
    bus: Annotated[
        str | None, typer.Option(metavar="URL", help="sqlite:PATH, kafka://.. or memory:.")
    ] = None,
    contrast: AutoContrast = None,
    invert: Invert = False,
    absent_value: AbsentValue = None,
    absent_mask: AbsentMask = None,
    downsample: Downsample = None,
    backend: Backend = None,
    precision: Precision = None,
    tile: Tile = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE.onnx", help="A network beside those of the pipeline."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Arrays that land, by the names of predictions."),
    ] = None,
    organelles: Annotated[
        str | None, typer.Option(metavar="A,B,..", help="Only these, and what they are made of.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Stream a volume through every stage, and wait.

    Example: fibstream run --raw volume.tif --voxel-size-nm 10 --pipeline mito --out cell.zarr
    """
    from fibstream.volumes.registry import with_pattern

    from ..streaming import Beside, stream

    chosen, _ = settings(workers=workers, backend=backend, precision=precision, tile=tile)
    report = stream(
        raw=with_pattern(raw, pattern), pipeline=pipeline, out=out,
        voxel_size_nm=voxel_size(voxel_size_nm), chunk=chunk,
        order=order, seed=seed, bus=bus, contrast=contrast, invert=invert,
        absent_value=absent_value, absent_mask=absent_mask, settings=chosen, quiet=False,
        downsample=downsample, beside=Beside(model or (), organelles, predictions),
    )  # fmt: skip
    finish_run(report, as_json=as_json, out=out)


def finish_run(report: Any, *, as_json: bool, out: Path) -> None:
    """Print the report of a run; exit 1 when chunks have failed."""
    for item in report.failed:
        sys.stderr.write(f"failed: {item['stage']} {named(item['chunk'])}: {item['reason']}\n")
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    else:
        typer.echo(f"{out}: {report.chunks_computed} computed, {report.chunks_reused} reused, "
            f"{len(report.failed)} failed in {report.seconds:.1f} s")  # fmt: skip
        if not report.failed:
            typer.echo(f"labels {report.labels_hash}")
            typer.echo(f"tables {report.tables_hash}")
    if report.failed:
        raise typer.Exit(FAILED)


@resumable
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where results go.")] = Path("demo"),
) -> None:
    """Show the whole story on the sample volume.

    Example: fibstream demo
    """
    from ..demo import run_demo

    check_folder(out, "--out")
    if not run_demo(out, settings()[0]):
        raise typer.Exit(FAILED)
