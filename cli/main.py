"""The ``fibstream`` command: words and flags; what they do is in the files beside this one."""

import json
import os
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from fibstream.cli.phantom.command import phantom  # noqa: F401  (registers its word)

from . import calls
from .app import (
    COMPLAINT,
    DONE,
    FAILED,
    GIVEN,
    WRONG,
    Chunk,
    Json,
    Out,
    Raw,
    Voxel,
    app,
    command,
    fail,
    say,
    settings,
    triple,
)
from .flags import check_folder, is_place

# What fibstream runs on. Files are replaced, locked and synced as POSIX has it.
SYSTEMS = ("linux", "darwin")
SHELLS = ("bash", "zsh", "fish")


def finish(report: Any, *, as_json: bool, out: Path) -> None:
    """Print a run's report and exit as it says."""
    for item in report.failed:
        chunk = ",".join(map(str, item["chunk"]))
        sys.stderr.write(f"failed: {item['stage']} chunk {chunk}: {item['reason']}\n")
    if as_json:
        say(json.dumps(asdict(report)))
    else:
        say(f"{out}: {report.chunks_computed} computed, {report.chunks_reused} reused, "
            f"{len(report.failed)} failed in {report.seconds:.1f} s")  # fmt: skip
        say(f"labels {report.labels_hash}")
        say(f"tables {report.tables_hash}")
    if report.failed:
        raise typer.Exit(FAILED)


@command
def run(
    raw: Raw,
    pipeline: Annotated[str, typer.Option(metavar="FILE|NAME", help="A YAML file, or mito.")],
    out: Out,
    voxel_size_nm: Voxel = None,
    chunk: Chunk = None,
    order: Annotated[str, typer.Option(help="raster, random or slab.")] = "raster",
    seed: Annotated[int, typer.Option(help="Seed of the order.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Worker processes per service.")] = None,
    bus: Annotated[
        str | None, typer.Option(metavar="URL", help="sqlite:PATH, kafka://.. or memory:.")
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH|auto", help="Grey values that become black and white."),
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Bright membranes.")] = False,
    as_json: Json = False,
) -> None:
    """Stream a volume through every stage, and wait.

    Example: fibstream run --raw volume.tif --voxel-size-nm 10 --pipeline mito --out cell.zarr
    """
    from .streaming import stream

    chosen, _ = settings(workers=workers)
    report = stream(
        raw=raw, pipeline=pipeline, out=out, voxel_size_nm=triple(voxel_size_nm), chunk=chunk,
        order=order, seed=seed, bus=bus, contrast=contrast, invert=invert, settings=chosen,
        quiet=False,
    )  # fmt: skip
    finish(report, as_json=as_json, out=out)


@command
def predict(
    raw: Raw,
    model: Annotated[str, typer.Option(metavar="NAME|FILE.onnx", help="The network.")],
    out: Out,
    voxel_size_nm: Voxel = None,
    chunk: Chunk = None,
    contrast: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH|auto", help="Grey values that become black and white."),
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Bright membranes.")] = False,
) -> None:
    """Predict the classes of one network; writes predictions/CLASS/s0 and coarser levels.

    Example: fibstream predict --raw volume.tif --model mito --out prediction.zarr
    """
    from .oneshot import predict_volume

    chosen, _ = settings()
    for group in predict_volume(
        raw, model, out, voxel_size_nm=triple(voxel_size_nm), chunk=chunk, contrast=contrast,
        invert=invert, threads=chosen.threads,
    ):  # fmt: skip
        say(str(out / group))


@command
def refine(
    prediction: Annotated[list[str], typer.Option(metavar="CLASS=PATH", help="Predictions.")],
    organelle: Annotated[str, typer.Option(metavar="NAME", help="The recipe: generic or mito.")],
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
    from .oneshot import refine_prediction

    group = refine_prediction(
        prediction, organelle, out, voxel_size_nm=triple(voxel_size_nm), chunk=chunk,
        overrides=set_ or [],
    )  # fmt: skip
    say(str(out / group))


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
    from .oneshot import measure_labels

    rows = measure_labels(
        labels, out, raw=raw, voxel_size_nm=triple(voxel_size_nm), profile=profile
    )
    say(f"{out}: {rows} objects")


@command
def evaluate(
    truth: Annotated[str, typer.Option(metavar="PATH", help="The truth; not 0 is inside.")],
    test: Annotated[str, typer.Option(metavar="PATH", help="What is scored.")],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="The scores to write.")],
    threshold: Annotated[int | None, typer.Option(help="Test values from here are inside.")] = None,
    instances: Annotated[bool, typer.Option("--instances", help="Match objects too.")] = False,
    voxel_size_nm: Voxel = None,
) -> None:
    """Score a segmentation against the truth: Dice, IoU, precision, recall.

    Example: fibstream evaluate --truth truth.tif --test labels.zarr --out scores.json
    """
    from .oneshot import check_file, evaluate_volumes

    check_file(out)
    scores = evaluate_volumes(
        truth, test, threshold=threshold, instances=instances, voxel_size_nm=triple(voxel_size_nm)
    )
    write_new(out, (json.dumps(scores, indent=2) + "\n").encode())
    say(", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float)))


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

    Example: fibstream verify cell.zarr --hash
    """
    from fibstream.app.verify import verify_dataset

    from .progress import track

    damaged, objects, hashes = verify_dataset(
        path, rebuild=rebuild, with_hashes=hash_, bus_url=bus, track=track
    )
    for stage, index in damaged:
        say(f"damaged: {stage} chunk {','.join(map(str, index))}")
    if hashes:
        say(f"labels {hashes[0]}\ntables {hashes[1]}")
    if damaged:
        fail(f"{path}: {len(damaged)} of {objects} stage outputs are damaged", FAILED)
    say(f"{path}: {objects} stage outputs are intact")


@command
def status(
    path: Annotated[
        str, typer.Argument(metavar="PATH|NAME", help="A dataset, or its name with --server.")
    ],
    server: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="Ask running services.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how far a dataset is: stages, objects, failures, bytes on disk, who is at work.

    Example: fibstream status cell.zarr
    """
    if server is None and not is_place(path) and not Path(path).exists():
        server = os.environ.get("FIBSTREAM_SERVER")
    if server is not None:
        calls.show_status(path, server, as_json=as_json)
        return
    from fibstream.app.status import describe, status_of

    found = status_of(Path(path))
    say(json.dumps(found) if as_json else describe(found))


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
    from .view import view as show

    show(
        path, host=bind, port=port, browser=not no_browser, voxel_size_nm=triple(voxel_size_nm),
        say=say, hint=lambda text: typer.echo(f"fibstream: {text}", err=True),
    )  # fmt: skip


@command
def report(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A dataset, finished or growing.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where it goes; beside the dataset.")
    ] = None,
) -> None:
    """Write a page of a dataset: picture, tables, histogram and what the results follow from.

    Example: fibstream report cell.zarr --out report
    """
    from fibstream.app.folder import open_dataset
    from fibstream.app.report import write_report

    folder = out or path.with_name(f"{path.stem}-report")
    open_dataset(path)
    check_folder(folder, "--out")
    written = write_report(path, folder)
    say(f"{written.page}")


@command
def config() -> None:
    """Show the settings in force, and where each comes from.

    Example: FIBSTREAM_WORKERS=2 fibstream config
    """
    from fibstream.runtime.settings import Settings

    _, values = settings()
    for name, value in values.items():
        meaning = Settings.model_fields[name].description
        say(f"{name} = {value.value}  ({value.source}; {meaning})")


@command
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where results go.")] = Path("demo"),
) -> None:
    """Show the whole story on the sample volume.

    Example: fibstream demo
    """
    from .demo import tell

    check_folder(out, "--out")
    if not tell(out, settings()[0], say):
        raise typer.Exit(FAILED)


def write_new(path: Path, data: bytes) -> None:
    """Write a result file whole, or not at all."""
    from .oneshot import write_file

    write_file(path, data)


def _version(asked: bool) -> None:
    if asked:
        say(version("fibstream"))
        raise typer.Exit(DONE)


@app.callback()
def main(
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="text|json", help="How log lines are printed.")
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show and exit.")
    ] = False,
) -> None:
    """Segment and measure organelles in FIB-SEM volumes while the microscope is still milling.

    Example: fibstream --log-level info run --raw volume.tif --pipeline mito --out cell.zarr
    """
    GIVEN.set({"log_level": log_level, "log_format": log_format})


def unsupported(system: str) -> str | None:
    """Return why fibstream does not run on a ``sys.platform``; None where it does."""
    if system in SYSTEMS:
        return None
    name = "Windows" if system in ("win32", "cygwin") else system
    return f"does not run on {name}; expected Linux, or WSL 2 on Windows"


def complete(arguments: list[str]) -> list[str]:
    """Let ``--show-completion`` be followed by a shell; without one it is the shell that calls."""
    if arguments[:1] == ["--show-completion"] and len(arguments) > 1:
        if arguments[1] not in SHELLS:
            raise typer.BadParameter(
                f"no completion for {arguments[1]}; expected {', '.join(SHELLS)}"
            )
        os.environ["_FIBSTREAM_COMPLETE"] = f"source_{arguments[1]}"
    return arguments


def entry() -> None:
    """Run the command; complaints about its flags become one line as well."""
    if (reason := unsupported(sys.platform)) is not None:
        sys.stderr.write(f"fibstream: {reason}\n")
        sys.exit(WRONG)
    try:
        arguments = complete(sys.argv[1:] or ["--help"])
        code = app(arguments, prog_name="fibstream", standalone_mode=False)
    except COMPLAINT as error:
        message = cast("Any", error).format_message()
        sys.stderr.write("fibstream: " + " ".join(message.split()) + "\n")
        code = WRONG
    except typer.Abort:
        code = 130
    sys.exit(code or DONE)
