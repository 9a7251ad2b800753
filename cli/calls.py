"""Commands that call running services, and the one that runs a service."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fibstream.errors import WrongUse

if TYPE_CHECKING:
    from fibstream.client import Client

from .app import Chunk, Voxel, command, fail, say, triple

FAILED = 1
Server = Annotated[
    str,
    typer.Option(metavar="HOST[:PORT]", envvar="FIBSTREAM_SERVER", help="Where services run."),
]
Name = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's name.")]
HERE = "127.0.0.1"


def connected(server: str) -> "Client":
    """Return a client; gRPC is imported by those who need it."""
    from fibstream.client import Client

    return Client(server)


@command
def create(
    name: Name,
    shape: Annotated[str, typer.Option(metavar="Z,Y,X", help="Voxels; Z is ? while unknown.")],
    voxel_size_nm: Voxel = None,
    pipeline: Annotated[str, typer.Option(metavar="FILE|NAME", help="A YAML file, or mito.")] = (
        "mito"
    ),
    dtype: Annotated[str, typer.Option(help="uint8, int8, uint16 or int16.")] = "uint8",
    chunk: Chunk = None,
    contrast: Annotated[str | None, typer.Option(metavar="LOW,HIGH")] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Bright membranes.")] = False,
    server: Server = HERE,
) -> None:
    """Make a dataset that chunks can land in.

    Example: fibstream create cell --shape ?,4000,6000 --voxel-size-nm 8 --pipeline mito
    """
    from .flags import parse_pair, parse_shape, parse_triple

    size = triple(voxel_size_nm)
    if size is None:
        raise WrongUse("--voxel-size-nm is missing; expected Z,Y,X or one length, nm")
    with connected(server) as client:
        new, warnings = client.create(
            name, parse_shape(shape), voxel_size_nm=size, dtype=dtype,
            chunk=parse_triple(chunk, "--chunk", int) if chunk else None,
            contrast=parse_pair(contrast, "--contrast") if contrast else None,
            invert=invert, pipeline=_pipeline_text(pipeline),
        )  # fmt: skip
    for warning in warnings:
        typer.echo(f"note: {warning}", err=True)
    say(f"{name}: {'created' if new else 'was there already, the same'}")


def _pipeline_text(name_or_path: str) -> str:
    """Return what a server takes for a pipeline: a file's text, or the name."""
    path = Path(name_or_path)
    return path.read_text(errors="replace") if path.is_file() else name_or_path


@command
def land(
    name: Name,
    raw: Annotated[str, typer.Option("--raw", metavar="PATH", help="The volume.")],
    order: Annotated[str, typer.Option(help="raster, random or slab.")] = "raster",
    seed: Annotated[int, typer.Option(help="Seed of the order.")] = 0,
    chunks: Annotated[int | None, typer.Option(help="Land only the first so many.")] = None,
    seal: Annotated[bool, typer.Option("--seal", help="The volume ends where the file does.")] = (
        False
    ),
    wait: Annotated[bool, typer.Option("--wait", help="Until the dataset is complete.")] = False,
    server: Server = HERE,
) -> None:
    """Land a volume chunk by chunk; what is there already is left as it is.

    Example: fibstream land cell --raw volume.tif --seal --wait
    """
    from .landing import land_volume

    with connected(server) as client:
        counts = land_volume(client, name, raw, order=order, seed=seed, limit=chunks, seal=seal)
        say(f"{name}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
        if wait:
            _finish(client.wait(name))


@command
def watch(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Slices, or a growing Zarr.")],
    dataset: Annotated[str, typer.Option(metavar="DATASET", help="The dataset's name.")],
    slices: Annotated[int | None, typer.Option(help="The volume ends after so many.")] = None,
    end_file: Annotated[str | None, typer.Option(help="It ends when this file appears.")] = None,
    idle_s: Annotated[float | None, typer.Option(help="It ends when nothing comes.")] = None,
    first: Annotated[int | None, typer.Option(help="Number of the first slice.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Where a name has its number: 'slice_([0-9]+)'.")
    ] = None,
    absent: Annotated[
        str | None, typer.Option(metavar="N,M-K", help="Slices that will never come.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Land what is there anew.")] = False,
    stable_s: Annotated[float, typer.Option(help="A file so long unchanged is whole.")] = 2.0,
    giveup_s: Annotated[float, typer.Option(help="Name a file so long unreadable.")] = 60.0,
    poll_s: Annotated[float, typer.Option(help="How often to look.")] = 1.0,
    memory_gb: Annotated[float, typer.Option(help="The most that slices may take.")] = 4.0,
    server: Server = HERE,
) -> None:
    """Turn the slices that a microscope writes into landed chunks; call again to go on.

    Example: fibstream watch /share/acquisition --dataset cell --end-file finished.txt
    """
    from .watch import make_ending, make_habits, make_rules, watch_folder

    rules = make_rules(
        stable_s=stable_s, giveup_s=giveup_s, first=first, absent=absent, pattern=pattern
    )
    ending = make_ending(slices=slices, end_file=end_file, idle_s=idle_s)
    habits = make_habits(poll_s=poll_s, again=again, memory_gb=memory_gb)
    with connected(server) as client:
        code = watch_folder(client, dataset, folder, ending=ending, rules=rules, habits=habits)
    if code:
        raise typer.Exit(code)


@command
def seal(
    name: Name,
    extent_z: Annotated[
        int | None, typer.Option("--extent-z", help="Slices; default: the end of what landed.")
    ] = None,
    server: Server = HERE,
) -> None:
    """Say where a volume ends: its border becomes known, its objects final.

    Example: fibstream seal cell
    """
    with connected(server) as client:
        say(f"{name}: sealed at {client.seal(name, extent_z)} slices")


@command
def replay(
    name: Name,
    stage: Annotated[str, typer.Option(help="Only this stage.")] = "",
    server: Server = HERE,
) -> None:
    """Put failed chunks back: they are made again.

    Example: fibstream replay cell --stage prediction/mito
    """
    with connected(server) as client:
        for where, index in client.replay(name, stage):
            say(f"replayed: {where} chunk {','.join(map(str, index))}")


@command
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: Server = HERE,
) -> None:
    """Remove a dataset with everything derived from it.

    Example: fibstream delete cell --yes
    """
    if not yes:
        typer.confirm(f"Delete dataset {name} and everything derived from it?", abort=True)
    with connected(server) as client:
        client.delete(name)
    say(f"{name}: deleted")


@command
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; tables are organelles.")],
    dataset: Annotated[str, typer.Option(metavar="DATASET", help="The dataset's name.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv|.parquet", help="Instead of printing.")
    ] = None,
    server: Server = HERE,
) -> None:
    """Ask the tables of a dataset in SQL.

    Example: fibstream query "SELECT id, volume_nm3 FROM mito" --dataset cell
    """
    from .answers import print_table, write_table

    with connected(server) as client:
        table = client.query(dataset, sql)
    if out is None:
        print_table(table, say)
    else:
        write_table(table, out)
        say(f"{out}: {table.num_rows} rows")


@command
def serve(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="ingest, inference, ...")],
    root: Annotated[str, typer.Option(metavar="PATH|s3://..", help="Where datasets lie.")],
    bus: Annotated[str | None, typer.Option(metavar="kafka://H:P", help="A shared bus.")] = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The door.")] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="First of a row, for Prometheus.")
    ] = None,
    role: Annotated[str, typer.Option(help="Some of door,plan,work.")] = "door,plan,work",
    source: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="May be announced from.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
) -> None:
    """Run one service for all datasets below a root, until it is stopped.

    Example: fibstream serve ingest --root /data --bus kafka://127.0.0.1:9092
    """
    from .serve import Serving
    from .serve import serve as run_service

    given = Serving(
        service, root, bus, listen, metrics, tuple(role.split(",")), tuple(source or ()), workers
    )
    run_service(given, say)


def show_status(name: str, server: str, *, as_json: bool) -> None:
    """Print how far a dataset of running services is."""
    with connected(server) as client:
        answer = next(client.watch(name, once=True))
    found = _status(answer)
    if as_json:
        say(json.dumps(found))
        return
    z, y, x = found["shape"]
    say(f"{name}: {z or '?'} x {y} x {x} voxels, {'sealed' if found['sealed'] else 'open'}, "
        f"{'complete' if found['complete'] else 'not complete'}")  # fmt: skip
    for service, counts in found["services"].items():
        say(f"  {service:<12} {counts['recorded']} of {counts['wanted']}")
    for item in found["failed"]:
        say(f"  failed: {item['stage']} {tuple(item['chunk'])}: {item['reason']}")


def _status(answer: Any) -> dict[str, Any]:
    shape = answer.dataset.shape
    return {
        "dataset": answer.dataset.name,
        "shape": [shape.z or None, shape.y, shape.x],
        "sealed": answer.sealed,
        "complete": answer.complete,
        "services": {
            p.service: {"recorded": p.recorded, "wanted": p.wanted, "failed": p.failed}
            for p in answer.services
        },
        "failed": [
            {"stage": f.stage, "chunk": [f.index.z, f.index.y, f.index.x], "reason": f.reason}
            for f in answer.failed
        ],
    }


def _finish(answer: Any) -> None:
    """Say that a dataset is complete; exit 1 and name the chunks that failed."""
    for item in answer.failed:
        index = f"{item.index.z},{item.index.y},{item.index.x}"
        typer.echo(f"failed: {item.stage} chunk {index}: {item.reason}", err=True)
    if answer.failed_count:
        fail(f"{answer.dataset.name}: {answer.failed_count} chunks failed", FAILED)
    say(f"{answer.dataset.name}: complete")
