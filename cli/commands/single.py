"""Commands that run one step on one volume, without services."""

from pathlib import Path
from typing import Annotated

import typer

from ..app import command, settings, voxel_size
from ..options import (
    AbsentMask,
    AbsentValue,
    AutoContrast,
    Chunk,
    Downsample,
    Invert,
    Out,
    Pattern,
    Raw,
    Voxel,
)


@command
def predict(
    raw: Raw,
    model: Annotated[str, typer.Option(metavar="NAME|FILE.onnx", help="The network.")],
    out: Out,
    voxel_size_nm: Voxel = None,
    pattern: Pattern = None,
    chunk: Chunk = None,
    contrast: AutoContrast = None,
    invert: Invert = False,
    absent_value: AbsentValue = None,
    absent_mask: AbsentMask = None,
    downsample: Downsample = None,
) -> None:
    """Predict the classes of one network; writes predictions/CLASS/s0 and coarser levels.

    Example: fibstream predict --raw volume.tif --model mito --out prediction.zarr
    """
    from fibstream.volumes.registry import with_pattern

    from ..oneshot import predict_volume

    chosen, _ = settings()
    for group in predict_volume(
        with_pattern(raw, pattern), model, out, voxel_size_nm=voxel_size(voxel_size_nm),
        chunk=chunk, contrast=contrast, invert=invert, absent_value=absent_value,
        absent_mask=absent_mask,
        threads=chosen.threads, downsample=downsample,
    ):  # fmt: skip
        typer.echo(str(out / group))


@command
def refine(
    prediction: Annotated[list[str], typer.Option(metavar="CLASS=PATH", help="Predictions.")],
    organelle: Annotated[str, typer.Option(metavar="NAME", help="The recipe, such as mito.")],
    out: Out,
    voxel_size_nm: Voxel = None,
    chunk: Chunk = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the recipe."),
    ] = None,
) -> None:
    """Turn a prediction into labelled objects; writes labels/NAME/s0 and coarser levels.

    Example: fibstream refine --prediction mito=prediction.zarr --organelle mito --out labels.zarr
    """
    from ..refining import refine_prediction

    group = refine_prediction(
        prediction, organelle, out, voxel_size_nm=voxel_size(voxel_size_nm), chunk=chunk,
        overrides=set_ or [],
    )  # fmt: skip
    typer.echo(str(out / group))


@command
def measure(
    labels: Annotated[str, typer.Option(metavar="PATH", help="Labels.")],
    out: Annotated[Path, typer.Option(metavar="FILE.csv|.parquet", help="The table to write.")],
    raw: Annotated[
        str | None, typer.Option(metavar="PATH", help="For the mean grey value.")
    ] = None,
    voxel_size_nm: Voxel = None,
    profile: Annotated[str | None, typer.Option(help="cosem: the paper's columns.")] = None,
) -> None:
    """Measure every object of a label volume: one row each.

    Example: fibstream measure --labels labels.zarr --out mitochondria.csv
    """
    from ..oneshot import measure_labels

    rows = measure_labels(
        labels, out, raw=raw, voxel_size_nm=voxel_size(voxel_size_nm), profile=profile
    )
    typer.echo(f"{out}: {rows} objects")
