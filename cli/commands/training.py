"""Commands that make networks."""

from pathlib import Path
from typing import Annotated

import typer

from fibstream.core.errors import WrongUse

from ..app import command, resumable, settings, voxel_size
from ..options import (
    AbsentMask,
    AbsentValue,
    AutoContrast,
    Downsample,
    Invert,
    Pattern,
    Raw,
    Voxel,
)


@resumable
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, docs/training.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For checkpoints; by default CONFIG's name."),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="Begin with its weights: a name, .onnx, .pt."),
    ] = None,
    describe: Annotated[
        bool,
        typer.Option("--describe", help="Train nothing: show classes and crops in --out."),
    ] = False,
) -> None:
    """Train a network; the same call again goes on from its last checkpoint.

    Example: fibstream train mito.yaml --out mito
    """
    from ..training import describe_data, train_network

    if describe:
        if from_ is not None:
            raise WrongUse("--from: nothing is trained with --describe")
        for file in describe_data(config, out or config.with_suffix("")):
            typer.echo(str(file))
        return
    typer.echo(str(train_network(config, out, from_)))


@command
def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A .pt file, or the folder of train.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.onnx", help="The network to write.")],
) -> None:
    """Turn a checkpoint of train into a network that run and predict take.

    Example: fibstream export mito --out mito.onnx
    """
    from ..training import export_network

    typer.echo(export_network(checkpoint, out))


@command
def calibrate(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE.onnx", help="The network.")],
    raw: Raw,
    out: Annotated[Path, typer.Option(metavar="FILE.onnx", help="The network to write.")],
    tiles: Annotated[int, typer.Option(help="At so many places of the volume, at random.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the places.")] = 0,
    voxel_size_nm: Voxel = None,
    pattern: Pattern = None,
    contrast: AutoContrast = None,
    invert: Invert = False,
    absent_value: AbsentValue = None,
    absent_mask: AbsentMask = None,
    downsample: Downsample = None,
) -> None:
    """Prepare a network for --precision int8, by the values inside it on a volume.

    Example: fibstream calibrate mito --raw volume.tif --out mito-int8.onnx
    """
    from fibstream.volumes.registry import with_pattern

    from ..calibrating import calibrate_network
    from ..seeing import RawFlags

    chosen, _ = settings()
    given = RawFlags(
        with_pattern(raw, pattern), voxel_size(voxel_size_nm), contrast, invert, absent_value,
        downsample, absent_mask,
    )  # fmt: skip
    typer.echo(calibrate_network(model, given, out, tiles=tiles, seed=seed, settings=chosen))
