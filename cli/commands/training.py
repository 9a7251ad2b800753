"""Commands that make networks."""

from pathlib import Path
from typing import Annotated

import typer

from fibstream.core.errors import WrongUse

from ..app import command


@command
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
