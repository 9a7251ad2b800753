"""The command ``fibstream phantom`` and its flags."""

from pathlib import Path
from typing import Annotated

import typer

from fibstream.cli.app import command
from fibstream.cli.options import Chunk


@command
def phantom(
    out: Annotated[Path, typer.Option(metavar="PATH.zarr|PATH.phantom", help="What to write.")],
    size: Annotated[str, typer.Option(metavar="Z,Y,X", help="Edges in voxels.")] = "256",
    voxel_size_nm: Annotated[str, typer.Option(metavar="Z,Y,X", help="1 to 40 nm.")] = "4",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal voxels.")] = 0,
    organelles: Annotated[
        str | None, typer.Option(metavar="A,B,..", help="All of them by default.")
    ] = None,
    look: Annotated[str, typer.Option(help="plain, flyem or epfl.")] = "plain",
    jitter: Annotated[
        float, typer.Option(metavar="VOXELS", help="Largest displacement of a slice, up to 16.")
    ] = 0.0,
    missing: Annotated[
        str | None, typer.Option(metavar="Z,Z,..", help="Slices that were lost: they read 0.")
    ] = None,
    tissue: Annotated[bool, typer.Option("--tissue", help="Among other cells.")] = False,
    light: Annotated[
        str | None, typer.Option(metavar="A,B,..", help="Light microscopes: palm, sim, confocal.")
    ] = None,
    warp: Annotated[
        str,
        typer.Option(metavar="NAME", help="affine, bspline, tps, slabs, cos7-palm or cos7-sim."),
    ] = "bspline",
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also what networks would predict, by class.")
    ] = False,
    noise_nm: Annotated[
        float | None, typer.Option(metavar="NM", help="Of predictions: standard deviation, or 0.")
    ] = None,
    noise_length_nm: Annotated[
        float | None, typer.Option(metavar="NM", help="Over which it is correlated, or 60.")
    ] = None,
    chunk: Chunk = None,
) -> None:
    """Make a synthetic cell with full truth: raw, fine labels, instances, truth.json.

    A PATH.phantom holds the specification alone and is read like any volume: its voxels are
    computed when they are read, so it may be larger than any disk.

    With --predictions also the distance to each class that networks predict, as bytes, with smooth
    noise of --noise-nm; without it they are exact.

    With --light also stained membranes as a light microscope shows them, through a known warp.

    Example: fibstream phantom --out cell.zarr --size 256 --voxel-size-nm 4 --seed 1
    """
    from fibstream.phantom.source import SUFFIX

    from .flags import make_look, make_spec, parse_light, parse_noise
    from .writing import write_phantom, write_spec

    modalities = parse_light(light, warp)
    noise = parse_noise(noise_nm, noise_length_nm, wanted=predictions)
    spec = make_spec(
        size, voxel_size_nm, seed, organelles, make_look(look, jitter, missing), chunk,
        tissue=tissue,
    )  # fmt: skip
    if out.suffix == SUFFIX:
        typer.echo(str(write_spec(out, spec, modalities, noise)))
        return
    for group in write_phantom(out, spec, modalities, warp, noise):
        typer.echo(str(out / group))
