"""The command that gives a dataset another pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from fibstream.core.errors import WrongUse

from ..app import resumable, settings
from ..connect import check_remote, connected, pipeline_text
from ..flags import is_place
from ..options import LOCALHOST, Json, PathOrDataset, Pipeline, ServerOfName
from .services import finish
from .streaming import finish_run


@resumable
def update(
    name: PathOrDataset,
    pipeline: Pipeline,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes per service, of a folder.")
    ] = None,
    as_json: Json = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until services have completed the dataset.")
    ] = False,
    server: ServerOfName = None,
) -> None:
    """Give a dataset another pipeline: only what follows from the difference is computed.

    Example: fibstream update cell.zarr --pipeline second.yaml
    """
    if is_place(name):
        _update_folder(Path(name), pipeline, workers, as_json=as_json)
        return
    check_remote(name, server)
    if workers is not None or as_json:
        raise WrongUse("--workers and --json are for a folder; services have workers of their own")
    text = pipeline_text(pipeline)
    with connected(server or LOCALHOST) as client:
        changed, warnings = client.update(name, text)
        for warning in warnings:
            typer.echo(f"note: {warning}", err=True)
        typer.echo(f"{name}: {'has the pipeline now' if changed else 'had this pipeline already'}")
        if wait:
            finish(client.wait(name))


def _update_folder(folder: Path, pipeline: str, workers: int | None, *, as_json: bool) -> None:
    from ..progress import Display
    from ..updating import update_folder

    chosen, _ = settings(workers=workers)
    report = update_folder(folder, pipeline, chosen, Display(quiet=False))
    finish_run(report, as_json=as_json, out=folder)
