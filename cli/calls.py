"""Commands that call running services, and the one that runs a service."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from fibstream.core.addresses import SERVICES
from fibstream.core.errors import WrongUse
from fibstream.telemetry.logs import logs

from .app import GIVEN, Chunk, Voxel, command, fail, say, settings, triple
from .connect import check_name, check_volume, check_watched, connected, pipeline_text
from .flags import (
    check_address,
    check_brokers,
    check_choice,
    check_edges,
    check_root,
    check_table,
    is_place,
    parse_chunk,
    parse_pair,
    parse_shape,
)

FAILED = 1
Server = Annotated[
    str,
    typer.Option(metavar="HOST[:PORT]", envvar="FIBSTREAM_SERVER", help="Where services run."),
]
Name = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's name.")]
HERE = "127.0.0.1"


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
    contrast: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Grey values that become black and white."),
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Bright membranes.")] = False,
    server: Server = HERE,
) -> None:
    """Make a dataset that chunks can land in.

    Example: fibstream create cell --shape "?,4000,6000" --voxel-size-nm 8 --pipeline mito
    """
    from fibstream.core.grid import MAX_AXIS
    from fibstream.services.ingest.edges.datasets import DTYPES

    check_name(name)
    extent = parse_shape(shape)
    check_edges(extent, MAX_AXIS, f"--shape {shape}")
    check_choice(dtype, DTYPES, "--dtype")
    edges = parse_chunk(chunk)
    window = parse_pair(contrast, "--contrast") if contrast else None
    if window is None and dtype != "uint8":
        raise WrongUse(f"--dtype {dtype}: give --contrast LOW,HIGH, two grey values")
    size = triple(voxel_size_nm)
    if size is None:
        raise WrongUse("--voxel-size-nm is missing; expected Z,Y,X or one length, nm")
    text = pipeline_text(pipeline)
    with connected(server) as client:
        new, warnings = client.create(
            name, extent, voxel_size_nm=size, dtype=dtype, chunk=edges, contrast=window,
            invert=invert, pipeline=text,
        )  # fmt: skip
    for warning in warnings:
        typer.echo(f"note: {warning}", err=True)
    say(f"{name}: {'created' if new else 'was there already, the same'}")


@command
def land(
    name: Name,
    raw: Annotated[str, typer.Option("--raw", metavar="PATH", help="The volume.")],
    order: Annotated[str, typer.Option(help="raster, random or slab.")] = "raster",
    seed: Annotated[int, typer.Option(help="Seed of the order.")] = 0,
    chunks: Annotated[int | None, typer.Option(min=1, help="Land only the first so many.")] = None,
    seal: Annotated[bool, typer.Option("--seal", help="The volume ends where the file does.")] = (
        False
    ),
    wait: Annotated[bool, typer.Option("--wait", help="Until the dataset is complete.")] = False,
    server: Server = HERE,
) -> None:
    """Land a volume chunk by chunk; what is there already is left as it is.

    Example: fibstream land cell --raw volume.tif --seal --wait
    """
    from fibstream.services.ingest.edges.landing import Order

    from .landing import land_volume

    check_name(name)
    check_choice(order, get_args(Order), "--order")
    check_volume(raw)
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
    check_name(dataset)
    check_watched(folder)
    with connected(server, patient=True) as client:
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
    from fibstream.core.grid import MAX_AXIS

    check_name(name)
    if extent_z is not None and not 0 < extent_z <= MAX_AXIS:
        raise WrongUse(f"--extent-z {extent_z}: expected 1 to {MAX_AXIS} slices")
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
    from fibstream.core.events import FAMILIES

    check_name(name)
    if stage:
        check_choice(stage.partition("/")[0], FAMILIES, "--stage")
    with connected(server) as client:
        for where, index in client.replay(name, stage):
            say(f"replayed: {where} chunk {','.join(map(str, index))}")


@command
def delete(
    name: Annotated[
        str, typer.Argument(metavar="PATH|DATASET", help="A folder, or a name with services.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", envvar="FIBSTREAM_SERVER", help=f"Default: {HERE}."),
    ] = None,
) -> None:
    """Remove a dataset with everything derived from it: PATH.zarr, or a NAME of running services.

    Example: fibstream delete cell.zarr --yes
    """
    folder = Path(name)
    if is_place(name):
        _delete_folder(folder, yes=yes)
        return
    check_name(name)
    if server is None and folder.is_dir():
        raise WrongUse(f"{name}: a folder here; expected ./{name}, or --server HOST for a name")
    if not yes:
        typer.confirm(f"Delete dataset {name} and everything derived from it?", abort=True)
    with connected(server or HERE) as client:
        client.delete(name)
    say(f"{name}: deleted")


def _delete_folder(folder: Path, *, yes: bool) -> None:
    from fibstream.app.folder import open_dataset
    from fibstream.app.housekeeping import delete_folder, size_text, usage

    open_dataset(folder)
    if not yes:
        size = size_text(sum(usage(folder).groups.values()))
        typer.confirm(f"Delete dataset {folder} ({size}) with raw and all results?", abort=True)
    delete_folder(folder)
    say(f"{folder}: deleted")


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

    check_name(dataset)
    if not sql.strip():
        raise WrongUse("the question is empty; expected one SELECT")
    if out is not None:
        check_table(out)
    with connected(server, "analysis") as client:
        table = client.query(dataset, sql)
    if out is None:
        print_table(table, say)
    else:
        write_table(table, out)
        say(f"{out}: {table.num_rows} rows")


@command
def serve(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="ingest, inference, refine or analysis.")
    ],
    root: Annotated[str, typer.Option(metavar="PATH|s3://..", help="Where datasets lie.")],
    bus: Annotated[str | None, typer.Option(metavar="kafka://H:P", help="A shared bus.")] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where it answers.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="First of a row, for Prometheus.")
    ] = None,
    role: Annotated[str, typer.Option(help="Some of grpc,plan,work.")] = "grpc,plan,work",
    source: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Files below it may be landed by their path."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
) -> None:
    """Run one service for all datasets below a root, until it is stopped.

    Example: fibstream serve ingest --root /data --bus kafka://127.0.0.1:9092
    """
    check_choice(service, SERVICES, "service")
    chosen, _ = settings(workers=workers)
    check_root(root)
    check_brokers(bus)
    if listen is not None:
        check_address(listen, "--listen")
    if metrics is not None:
        check_address(metrics, "--metrics", row=2 + chosen.workers)
    from fibstream.app import registry
    from fibstream.runtime.serve import Serving
    from fibstream.runtime.serve import serve as run_service

    # The processes of a service have their settings from the environment.
    os.environ.update(
        {f"FIBSTREAM_{name.upper()}": value for name, value in GIVEN.get().items() if value}
    )
    given = Serving(
        root, bus, listen, metrics, tuple(role.split(",")), tuple(source or ()), workers
    )
    with logs(chosen.log_level, chosen.log_format, service):
        run_service(registry.service(service), given, say)


def show_status(name: str, server: str, *, as_json: bool) -> None:
    """Print how far a dataset of running services is."""
    check_name(name)
    with connected(server) as client:
        answer = next(client.watch(name, once=True))
    found = _status(answer)
    if as_json:
        say(json.dumps(found))
        return
    z, y, x = found["shape"]
    say(f"{name}: {z or '?'} x {y} x {x} voxels, {'sealed' if found['sealed'] else 'open'}, "
        f"{'complete' if found['complete'] else 'not complete'}")  # fmt: skip
    for service in SERVICES:
        if counts := found["services"].get(service):
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
