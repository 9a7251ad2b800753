"""Flags and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

LOCALHOST = "127.0.0.1"

Json = Annotated[bool, typer.Option("--json", help="End with one JSON object; the rest to stderr.")]
Voxel = Annotated[
    str | None,
    typer.Option("--voxel-size-nm", metavar="Z,Y,X", help="Voxel size; may be in the input."),
]
NewVoxel = Annotated[
    str | None, typer.Option("--voxel-size-nm", metavar="Z,Y,X", help="Voxel size; required.")
]
Chunk = Annotated[
    str | None, typer.Option("--chunk", metavar="Z,Y,X", help="Chunk edges in voxels, 1 to 512.")
]
Raw = Annotated[str, typer.Option("--raw", metavar="PATH", help="The volume, see docs/formats.")]
Pattern = Annotated[
    str | None,
    typer.Option(help="Finds the number in names of slices: 'slice_([0-9]+)'; no others."),
]
Downsample = Annotated[
    str | None,
    typer.Option(metavar="N|Z,Y,X", help="Average so many voxels along each axis first."),
]
Out = Annotated[Path, typer.Option("--out", metavar="PATH.zarr", help="The dataset to write.")]
Pipeline = Annotated[str, typer.Option(metavar="FILE|NAME", help="A YAML file, mito or cell.")]
LandingOrder = Annotated[str, typer.Option(help="raster, random or slab.")]
Seed = Annotated[int, typer.Option(help="Seed of the order.")]
Contrast = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="Grey values that become black and white."),
]
AutoContrast = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH|auto", help="Grey values that become black and white."),
]
Backend = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Runtime of networks: auto, onnxruntime, openvino, cuda .."),
]
Precision = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of networks: auto, fp32, bf16, int8 ..")
]
Tile = Annotated[
    str | None,
    typer.Option(metavar="auto|Z,Y,X", help="Input of networks; auto: the largest that fits."),
]
Invert = Annotated[bool, typer.Option("--invert", help="Bright membranes.")]
AbsentValue = Annotated[
    float | None,
    typer.Option("--absent-value", metavar="V", help="What voxels hold that were never imaged."),
]
AbsentMask = Annotated[
    str | None,
    typer.Option(
        "--absent-mask", metavar="PATH", help="A volume: 0 where nothing was imaged, 1 elsewhere."
    ),
]
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's name.")]
PathOrDataset = Annotated[
    str, typer.Argument(metavar="PATH|DATASET", help="A folder, or a name with services.")
]
DatasetName = Annotated[str, typer.Option(metavar="DATASET", help="The dataset's name.")]
Server = Annotated[
    str,
    typer.Option(metavar="HOST[:PORT]", envvar="FIBSTREAM_SERVER", help="Where services run."),
]
ServerOfName = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST[:PORT]",
        envvar="FIBSTREAM_SERVER",
        help=f"Default: {LOCALHOST}.",
    ),
]
