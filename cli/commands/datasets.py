"""Commands on a dataset: look at it, check it, report on it, remove it."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from fibstream.core.errors import WrongUse
from fibstream.core.subject import named
from fibstream.runtime.checks import check_folder

from ..app import FAILED, INTERRUPTED, command, fail, voxel_size
from ..connect import check_remote, connected
from ..flags import is_place, parse_truths
from ..options import LOCALHOST, Json, PathOrDataset, ServerOfName, Voxel


@command
def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A dataset.")],
    hash_: Annotated[bool, typer.Option("--hash", help="Also print the hashes.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Write the log anew.")] = False,
    bus: Annotated[
        str | None, typer.Option(metavar="URL", help="Where its log is, if not in the dataset.")
    ] = None,
) -> None:
    """Read all contents of a dataset against their stamps; the next run repairs what differs.

    Exit 0 means that all is there that the sealed dataset promises, and intact; without, no hashes.

    Example: fibstream verify cell.zarr --hash
    """
    from fibstream.app.verify import verify_dataset

    from ..progress import track

    found = verify_dataset(path, rebuild=rebuild, with_hashes=hash_, bus_url=bus, track=track)
    for stage, subject in found.damaged:
        typer.echo(f"damaged: {stage} {named(subject)}")
    for word, counts in (("not there yet", found.lacking), ("outdated", found.outdated)):
        for stage, count in counts.items():
            typer.echo(f"{word}: {stage}: {count} of {found.every[stage]}")
    every = found.every.total()
    reasons = [f"{len(found.damaged)} of {every} stage outputs are damaged"] * bool(found.damaged)
    if not found.sealed:
        reasons.append("not finished: the dataset is not sealed")
    if lacking := found.lacking.total():
        reasons.append(f"not finished: {lacking} of {every} outputs are not there yet")
    if outdated := found.outdated.total():
        reasons.append(
            f"not finished: {outdated} of {every} outputs are of earlier settings or inputs"
        )
    if reasons:
        fail(f"{path}: {'; '.join(reasons)}", FAILED)
    if found.hashes:
        typer.echo("labels {}\ntables {}".format(*found.hashes))
    typer.echo(f"{path}: {every} stage outputs are intact")


@command
def status(
    path: Annotated[
        str | None,
        typer.Argument(metavar="[PATH|NAME]", help="A dataset, or its name with --server."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="Ask running services.")
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Replicas, lag and freshness of services, from there."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how far a dataset is: stages, objects, failures, bytes on disk, who is at work.

    Example: fibstream status cell.zarr
    """
    if prometheus is not None:
        from ..prometheus_status import asking, services_of, table

        if path is not None:
            raise WrongUse("--prometheus tells of services, not of a dataset: leave PATH out")
        found = services_of(asking(prometheus))
        typer.echo(json.dumps(found) if as_json else table(found))
        return
    if path is None:
        raise WrongUse("status: expected a dataset's PATH or NAME, or --prometheus URL")
    if server is None and not is_place(path) and not Path(path).exists():
        server = os.environ.get("FIBSTREAM_SERVER")
    if server is not None:
        from ..remote_status import show_status

        show_status(path, server, as_json=as_json)
        return
    from fibstream.app.status import describe, status_of

    found = status_of(Path(path))
    typer.echo(json.dumps(found) if as_json else describe(found))


@command
def view(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A dataset, or a Zarr or N5 array or group.")
    ],
    bind: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; 0.0.0.0 is everywhere.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="0 takes one that is free.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    voxel_size_nm: Voxel = None,
) -> None:
    """Look at a dataset in Neuroglancer, finished or growing, until Ctrl-C.

    Example: fibstream view cell.zarr
    """
    from ..view import view as show

    show(
        path, host=bind, port=port, browser=not no_browser, voxel_size_nm=voxel_size(voxel_size_nm),
    )  # fmt: skip


@command
def report(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A dataset, finished or growing.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where it goes; beside the dataset.")
    ] = None,
    truth: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]LABELS", help="Score an organelle, and show the truth."),
    ] = None,
) -> None:
    """Write a page of a dataset: pictures, tables, histogram and what the results follow from.

    Example: fibstream report cell.zarr --out report
    """
    from fibstream.app.folder import open_dataset
    from fibstream.app.report import write_report

    from ..progress import track

    folder = out or path.with_name(f"{path.stem}-report")
    _, dataset = open_dataset(path)
    check_folder(folder, "--out")
    truths = parse_truths(truth or [], [organelle.name for organelle in dataset.organelles])
    written = write_report(path, folder, truths=truths, track=track)
    typer.echo(f"{written.page}")


@command
def picture(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Labels, or a dataset#labels/NAME.")],
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="The picture to write.")],
    raw: Annotated[
        str | None, typer.Option(metavar="PATH", help="The micrograph; a dataset has its own.")
    ] = None,
    size: Annotated[int, typer.Option(min=100, max=3000, help="Edge in pixels.")] = 800,
    voxel_size_nm: Voxel = None,
) -> None:
    """Draw labels in three dimensions: objects before the micrograph, in the colours of a report.

    Example: fibstream picture cell.zarr --out cell.png
    """
    from ..solid import draw_labels

    draw_labels(path, out, raw=raw, voxel_size_nm=voxel_size(voxel_size_nm), edge=size)
    typer.echo(str(out))


@command
def delete(
    name: PathOrDataset,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: ServerOfName = None,
) -> None:
    """Remove a dataset with everything derived from it: PATH.zarr, or a NAME of running services.

    Example: fibstream delete cell.zarr --yes
    """
    if is_place(name):
        _delete_folder(Path(name), yes=yes)
        return
    check_remote(name, server)
    if not yes:
        _confirm(name, f"Delete dataset {name} and everything derived from it?")
    with connected(server or LOCALHOST) as client:
        client.delete(name)
    typer.echo(f"{name}: deleted")


def _delete_folder(folder: Path, *, yes: bool) -> None:
    from fibstream.app.housekeeping import check_deletable, delete_folder, size_text, usage

    check_deletable(folder)
    if not yes:
        size = size_text(sum(usage(folder).groups.values()))
        _confirm(str(folder), f"Delete dataset {folder} ({size}) with raw and all results?")
    delete_folder(folder)
    typer.echo(f"{folder}: deleted")


def _confirm(name: str, question: str) -> None:
    """End the command with exit 1 when the answer is no, with 130 when there is none."""
    try:
        agreed, code = typer.confirm(question), FAILED
    except typer.Abort:  # Ctrl-C, or the input is at its end
        typer.echo()
        agreed, code = False, INTERRUPTED
    if not agreed:
        fail(f"{name}: nothing was deleted", code)
