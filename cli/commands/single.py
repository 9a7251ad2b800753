"""Commands that run one step on one volume, without services."""

import json
from pathlib import Path
from typing import Annotated

import typer

from fibstream.core.errors import WrongUse

from ..app import FAILED, command, fail, settings, voxel_size
from ..options import (
    AbsentMask,
    AbsentValue,
    AutoContrast,
    Backend,
    Chunk,
    Downsample,
    Invert,
    Json,
    Out,
    Pattern,
    Precision,
    Raw,
    Tile,
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
    backend: Backend = None,
    precision: Precision = None,
    tile: Tile = None,
) -> None:
    """Predict the classes of one network; writes predictions/CLASS/s0 and coarser levels.

    Example: fibstream predict --raw volume.tif --model mito --out prediction.zarr
    """
    from fibstream.volumes.registry import with_pattern

    from ..oneshot import predict_volume
    from ..seeing import RawFlags

    chosen, _ = settings(backend=backend, precision=precision, tile=tile)
    given = RawFlags(
        with_pattern(raw, pattern), voxel_size(voxel_size_nm), contrast, invert, absent_value,
        downsample, absent_mask,
    )  # fmt: skip
    for group in predict_volume(given, model, out, chunk=chunk, settings=chosen):
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
        str | None, typer.Option(metavar="PATH", help="For statistics of grey values.")
    ] = None,
    voxel_size_nm: Voxel = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="cosem|cellmap", help="Columns: the paper's, or cellmap-analyze's."),
    ] = None,
) -> None:
    """Measure every object of a label volume: one row each.

    Example: fibstream measure --labels labels.zarr --out mitochondria.csv
    """
    from ..measuring import measure_labels

    rows = measure_labels(
        labels, out, raw=raw, voxel_size_nm=voxel_size(voxel_size_nm), profile=profile
    )
    typer.echo(f"{out}: {rows} objects")


@command
def contacts(
    a: Annotated[str, typer.Option(metavar="PATH", help="Labels of the first organelle.")],
    b: Annotated[str, typer.Option(metavar="PATH", help="Of the second, or the same path.")],
    distance_nm: Annotated[float, typer.Option(help="Contact distance.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder, or a Zarr group.")],
    kind: Annotated[str, typer.Option(help="refined or naive.")] = "refined",
    loses: Annotated[
        str | None, typer.Option(metavar="a|b", help="The side that loses what both have.")
    ] = None,
    min_volume_nm3: Annotated[float, typer.Option(help="Smaller contacts are left out.")] = 0.0,
    min_rule: Annotated[str, typer.Option(help="below or ceil, the paper's.")] = "below",
    ties: Annotated[str, typer.Option(help="smallest, or java: the paper's order.")] = "smallest",
    voxel_size_nm: Voxel = None,
    chunk: Chunk = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="cosem|cellmap", help="Columns: the paper's, or cellmap-analyze's."),
    ] = None,
    null: Annotated[
        int | None, typer.Option(metavar="N", help="Place objects at random N times.")
    ] = None,
    moves: Annotated[
        str | None, typer.Option(metavar="a|b", help="--null: what is placed; default b.")
    ] = None,
    mask: Annotated[
        str | None, typer.Option(metavar="PATH", help="--null: a volume, 0 outside the cell.")
    ] = None,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="--null: a and b may have the same voxels.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="--null: of all chance; default 0.")] = None,
) -> None:
    """Find where objects of two label volumes are in contact; writes labels and tables.

    With --null, tells whether there is more contact than where objects lie by chance.

    Example: fibstream contacts --a er.zarr --b mito.zarr --distance-nm 10 --out contacts.zarr
    """
    from ..chance import null_flags
    from ..contacting import find_contacts

    options = {
        "kind": kind, "loses": loses, "min_volume_nm3": min_volume_nm3, "min_rule": min_rule,
        "ties": ties,
    }  # fmt: skip
    count = find_contacts(
        (a, b), distance_nm, options, out, voxel_size_nm=voxel_size(voxel_size_nm), chunk=chunk,
        profile=profile,
        null=null_flags(null, seed=seed, moves=moves, overlap=overlap, mask=mask),
    )  # fmt: skip
    typer.echo(f"{out}: {count} contacts")


@command
def register(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A new folder, a Zarr group, or a dataset.")
    ],
    light: Annotated[
        str | None, typer.Option(metavar="PATH[#CHANNEL]", help="The light image.")
    ] = None,
    em: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The prediction of what the light image shows."),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(metavar="LIGHT=PREDICTION", help="Another channel, to measure the error."),
    ] = None,
    microscope: Annotated[
        str,
        typer.Option(metavar="NAME|AXIAL,LATERAL", help="palm, sim, confocal, or widths in nm."),
    ] = "sim",
    name: Annotated[str | None, typer.Option(help="Of lm/NAME; by default the channel's.")] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Corrected landmarks, instead of a search."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Values of the prediction that become dark, bright."),
    ] = None,
    voxel_size_nm: Voxel = None,
    light_voxel_nm: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Voxel size of the light image; may be in the input."),
    ] = None,
    json_: Json = False,
) -> None:
    """Align light microscopy with a prediction, from unknown orientation; writes lm/NAME.

    Exit 1: unregistered, and neither transform nor warped light is written. Without --light and
    --em: writes what the pipeline of a dataset has found, such as one that services compute.

    Example: fibstream register --light sim.ome.tif --em cell.zarr#predictions/mito --out clem.zarr
    """
    from fibstream.services.registration.edges.images import LIGHT_FLAG

    from ..flags import parse_triple
    from ..registering import Asked, register_light

    if light is None or em is None:
        others = light, em, held_out, window, voxel_size_nm, light_voxel_nm
        if any(flag is not None for flag in others) or microscope != "sim":
            raise WrongUse("register: --light and --em go together, and other flags with them")
        _write_stored(out, name, json_=json_)
        return
    size = None if light_voxel_nm is None else parse_triple(light_voxel_nm, LIGHT_FLAG, float)
    sizes = voxel_size(voxel_size_nm), size
    found = register_light(
        Asked(light, em, out, name, held_out, microscope, window, *sizes, landmarks)
    )
    judgement = found.facts["judgement"]
    why = "; ".join(judgement["reasons"]) or f"error {judgement['error_nm']:.0f} nm"
    for path in found.written:
        typer.echo(str(path), err=json_)
    if json_:
        typer.echo(json.dumps(found.facts))
    if found.status == "unregistered":
        fail(f"unregistered: {why}", FAILED)
    typer.echo(f"{found.status}: {why}", err=json_)


def _write_stored(out: Path, name: str | None, *, json_: bool) -> None:
    """Write what the stages of a dataset found; say the status of each."""
    from ..streamed import write_all

    statuses = write_all(out, name)
    for each, status in statuses.items():
        typer.echo(f"registration {each}: {status}", err=json_)
    if json_:
        typer.echo(json.dumps(statuses))
    if "unregistered" in statuses.values():
        raise typer.Exit(FAILED)
