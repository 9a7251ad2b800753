"""Commands that call running services."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from fibstream.bus import wire
from fibstream.core.dataset import RECORD
from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.subject import named

from ..app import FAILED, command, fail, resumable, voxel_size
from ..connect import check_name, check_volume, check_watched, connected, pipeline_text
from ..flags import (
    check_choice,
    check_table,
    is_place,
    parse_chunk,
    parse_factors,
    parse_pair,
    parse_place,
    parse_shape,
)
from ..options import (
    LOCALHOST,
    AbsentMask,
    AbsentValue,
    Backend,
    Chunk,
    Contrast,
    Dataset,
    DatasetName,
    Downsample,
    Invert,
    LandingOrder,
    NewVoxel,
    Pattern,
    Pipeline,
    Precision,
    Raw,
    Seed,
    Server,
    Tile,
    Voxel,
)


@command
def create(
    name: Dataset,
    shape: Annotated[str, typer.Option(metavar="Z,Y,X", help="Voxels; Z is ? while unknown.")],
    voxel_size_nm: NewVoxel = None,
    pipeline: Pipeline = "mito",
    dtype: Annotated[str, typer.Option(help="uint8, int8, uint16 or int16.")] = "uint8",
    chunk: Chunk = None,
    contrast: Contrast = None,
    invert: Invert = False,
    absent_value: AbsentValue = None,
    absent_mask: Annotated[
        bool, typer.Option("--absent-mask", help="A mask of what was imaged lands, too.")
    ] = False,
    offset_nm: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Where the centre of the first voxel lies."),
    ] = None,
    downsample: Downsample = None,
    backend: Backend = None,
    precision: Precision = None,
    tile: Tile = None,
    server: Server = LOCALHOST,
) -> None:
    """Make a dataset that chunks can land in; --downsample averages what lands.

    Shape, voxel size and offset are those of the data.

    Example: fibstream create cell --shape "?,4000,6000" --voxel-size-nm 8 --pipeline mito
    """
    from fibstream.core.grid import MAX_AXIS, check_edges
    from fibstream.kernels.absent import check_value
    from fibstream.services.ingest.edges.datasets import DTYPES
    from fibstream.volumes.downsampled import averaged
    from fibstream.volumes.positions import check_offset

    check_name(name)
    extent = parse_shape(shape)
    check_edges(extent, MAX_AXIS, f"--shape {shape}")
    check_choice(dtype, DTYPES, "--dtype")
    if absent_value is not None:
        check_value(absent_value, dtype)
    edges, factors = parse_chunk(chunk), parse_factors(downsample)
    offset = parse_place(offset_nm, "--offset-nm") if offset_nm else (0.0, 0.0, 0.0)
    check_offset(offset, "--offset-nm")
    window = parse_pair(contrast, "--contrast") if contrast else None
    if window is None and dtype != "uint8":
        raise WrongUse(f"--dtype {dtype}: give --contrast LOW,HIGH, two grey values")
    size = voxel_size(voxel_size_nm)
    if size is None:
        raise WrongUse("--voxel-size-nm is missing; expected Z,Y,X or one length, nm")
    text = pipeline_text(pipeline)
    extent, size, offset = averaged(extent, size, offset, factors)
    with connected(server) as client:
        new, warnings = client.create(
            name, extent, voxel_size_nm=size, dtype=dtype, chunk=edges, contrast=window,
            invert=invert, absent_value=absent_value, absent_mask=absent_mask, pipeline=text,
            offset_nm=offset, downsample=factors, backend=backend or "",
            precision=precision or "", tile=tile or "",
        )  # fmt: skip
    for warning in warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(f"{name}: {'created' if new else 'was there already, the same'}")


@resumable
def land(
    name: Dataset,
    raw: Raw,
    voxel_size_nm: Voxel = None,
    pattern: Pattern = None,
    downsample: Downsample = None,
    order: LandingOrder = "raster",
    seed: Seed = 0,
    chunks: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Land only the first N chunks.")
    ] = None,
    seal: Annotated[
        bool, typer.Option("--seal", help="Seal the dataset at the end of the file.")
    ] = False,
    prediction: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="Bytes of a prediction, too.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="Labels: their distances land.")
    ] = None,
    absent_mask: AbsentMask = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the dataset is complete.")
    ] = False,
    server: Server = LOCALHOST,
) -> None:
    """Land a volume chunk by chunk; chunks that are stored already are not written again.

    Example: fibstream land cell --raw volume.tif --seal --wait
    """
    from fibstream.services.ingest.edges.landing import Order
    from fibstream.volumes.registry import with_pattern

    from ..landing import given_predictions, land_volume

    raw = with_pattern(raw, pattern)
    check_name(name)
    check_choice(order, get_args(Order), "--order")
    given = given_predictions(prediction or (), labels or ())
    size = voxel_size(voxel_size_nm)
    factors = None if downsample is None else parse_factors(downsample)
    check_volume(raw, size)
    with connected(server) as client:
        counts = land_volume(
            client,
            name,
            raw,
            voxel_size_nm=size,
            order=order,
            seed=seed,
            limit=chunks,
            seal=seal,
            given=given,
            factors=factors,
            mask=absent_mask,
        )
        typer.echo(f"{name}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
        if absent_mask is None and client.info(name).absent_mask:
            typer.echo("note: the absent mask is not given: what reads it waits", err=True)
        for other in client.info(name).predictions.keys() - {each.name for each in given}:
            typer.echo(f"note: prediction {other} is not given: what reads it waits", err=True)
        if wait:
            finish(client.wait(name))


def finish(answer: Any) -> None:
    """Print that a dataset is complete; exit 1 and name the chunks that failed."""
    for item in answer.failed:
        subject = named(wire.subject_of(item.subject))
        typer.echo(f"failed: {item.stage} {subject}: {item.reason}", err=True)
    if answer.failed_count:
        fail(f"{answer.dataset.name}: {answer.failed_count} chunks failed", FAILED)
    typer.echo(f"{answer.dataset.name}: complete")


@command
def watch(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Slices, or a growing Zarr.")],
    dataset: DatasetName,
    slices: Annotated[
        int | None, typer.Option(help="The volume ends after this many slices.")
    ] = None,
    end_file: Annotated[str | None, typer.Option(help="It ends when this file appears.")] = None,
    idle_s: Annotated[
        float | None, typer.Option(help="It ends when nothing arrives for so many seconds.")
    ] = None,
    first: Annotated[
        int | None, typer.Option(help="Number of the first slice; default: the smallest.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Finds the number in a name: 'slice_([0-9]+)'.")
    ] = None,
    absent: Annotated[
        str | None, typer.Option(metavar="N,M-K", help="Slices that will never arrive.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Land again what has landed.")] = False,
    stable_s: Annotated[
        float, typer.Option(help="A file unchanged for so many seconds is complete.")
    ] = 2.0,
    giveup_s: Annotated[
        float, typer.Option(help="Report what is missing after so many seconds.")
    ] = 60.0,
    poll_s: Annotated[float, typer.Option(help="Seconds between looks at the folder.")] = 1.0,
    memory_gb: Annotated[float, typer.Option(help="Memory for slices, at most.")] = 4.0,
    server: Server = LOCALHOST,
) -> None:
    """Turn the slices that a microscope writes into landed chunks; call again to go on.

    Example: fibstream watch /share/acquisition --dataset cell --end-file finished.txt
    """
    from ..watch import make_ending, make_rules, make_settings, watch_folder

    rules = make_rules(
        stable_s=stable_s, giveup_s=giveup_s, first=first, absent=absent, pattern=pattern
    )
    ending = make_ending(slices=slices, end_file=end_file, idle_s=idle_s)
    chosen = make_settings(poll_s=poll_s, again=again, memory_gb=memory_gb)
    check_name(dataset)
    check_watched(folder)
    with connected(server, keep_trying=True) as client:
        code = watch_folder(client, dataset, folder, ending=ending, rules=rules, settings=chosen)
    if code:
        raise typer.Exit(code)


@command
def seal(
    name: Dataset,
    extent_z: Annotated[
        int | None,
        typer.Option("--extent-z", help="Slices of the data; default: the end of what landed."),
    ] = None,
    server: Server = LOCALHOST,
) -> None:
    """Declare where a volume ends: its border becomes known, its objects final.

    Example: fibstream seal cell
    """
    from fibstream.core.grid import MAX_AXIS
    from fibstream.services.ingest.edges.sources import slices_text

    check_name(name)
    if extent_z is not None and not 0 < extent_z <= MAX_AXIS:
        raise WrongUse(f"--extent-z {extent_z}: expected 1 to {MAX_AXIS} slices")
    with connected(server) as client:
        depth, _, _ = client.info(name).downsample
        extent = client.seal(name, extent_z and -(-extent_z // depth))
        typer.echo(f"{name}: sealed at {slices_text(extent, depth)}")


@command
def replay(
    name: Dataset,
    stage: Annotated[str, typer.Option(help="Only this stage.")] = "",
    server: Server = LOCALHOST,
) -> None:
    """Put failed chunks back: they are made again.

    Example: fibstream replay cell --stage prediction/mito
    """
    from fibstream import registry

    check_name(name)
    if stage:
        check_choice(stage.partition("/")[0], registry.families(), "--stage")
    with connected(server) as client:
        replayed = client.replay(name, stage)
    for where, subject in replayed:
        typer.echo(f"replayed: {where} {named(subject)}")
    if not replayed:
        typer.echo(f"{name}: nothing to replay")


@command
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; tables are organelles.")],
    dataset: Annotated[
        str,
        typer.Option(metavar="PATH|NAME", help="A dataset, or the name of one of services."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv|.parquet", help="Instead of printing.")
    ] = None,
    server: Server = LOCALHOST,
) -> None:
    """Ask the tables of a dataset in SQL.

    Example: fibstream query "SELECT id, volume_nm3 FROM mito" --dataset cell.zarr
    """
    from ..answers import print_table, unfinished, write_table

    local = is_place(dataset) or (Path(dataset) / RECORD).is_file()
    if not local:
        check_name(dataset)
    if not sql.strip():
        raise WrongUse("the question is empty; expected one SELECT")
    if out is not None:
        check_table(out)
    if local:
        from fibstream.app.query import query_dataset

        table, note = query_dataset(Path(dataset), sql)
    else:
        try:
            with connected(server, "analysis") as client:
                note = unfinished(client.describe(dataset))  # before: they may be final soon
                table = client.query(dataset, sql)
        except Retryable as error:
            folder = Path(f"{dataset}.zarr")
            if not (folder / RECORD).is_file():
                raise
            raise Retryable(f"{error}; did you mean the folder, --dataset {folder}?") from None
    if note:
        typer.echo(f"note: {dataset}: {note}", err=True)
    if out is None:
        print_table(table)
    else:
        write_table(table, out)
        typer.echo(f"{out}: {table.num_rows} rows")
