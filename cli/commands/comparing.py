"""Commands on what whole datasets measure."""

from pathlib import Path
from typing import Annotated

import typer

from ..app import command, voxel_size
from ..options import Voxel

Datasets = Annotated[
    list[Path], typer.Argument(metavar="A B ..", help="Datasets, or folders of their tables.")
]
Folder = Annotated[Path, typer.Option(metavar="DIR", help="Where tables and figures go.")]
Within = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What volumes are part of; default: cell mask, or imaged."),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=DATASET,..", help="Compare groups: names without .zarr."),
]


@command
def compare(datasets: Datasets, out: Folder, within: Within = None, group: Groups = None) -> None:
    """Put organelles of datasets side by side: totals, relative volumes, densities, effects.

    Example: fibstream compare hela.zarr macrophage.zarr --out compared
    """
    from ..comparing import compare as written

    for path in written(datasets, out, within=within, groups=group or []):
        typer.echo(str(path))


@command
def sensitivity(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A finished dataset.")],
    out: Folder,
    organelle: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An organelle; default: all.")
    ] = None,
) -> None:
    """Tell how counts, volumes and areas change with the threshold: 1 grey level, 4 nm, both ways.

    Example: fibstream sensitivity cell.zarr --out sensitivity
    """
    from ..sensitivity import sensitivity as written

    for file in written(path, out, organelle or []):
        typer.echo(str(file))


@command
def halves(
    truth: Annotated[str, typer.Option(metavar="PATH", help="The truth; not 0 is inside.")],
    out: Folder,
    prediction: Annotated[
        str | None, typer.Option(metavar="PATH", help="The prediction, before refinement.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="PATH", help="What was refined of it.")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Grey levels from here are inside.")] = 127,
    voxel_size_nm: Voxel = None,
) -> None:
    """Tell how volume and area deviate from the truth in each half of a volume, across each axis.

    Example: fibstream halves --truth truth.tif --labels cell.zarr#labels/mito --out halves
    """
    from ..halving import compare_halves

    written = compare_halves(
        truth, prediction, labels, out, threshold=threshold,
        voxel_size_nm=voxel_size(voxel_size_nm),
    )  # fmt: skip
    for path in written:
        typer.echo(str(path))
