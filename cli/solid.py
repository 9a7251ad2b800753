"""`fibstream picture`: labels of a dataset, or of any volume, in three dimensions."""

import io
from pathlib import Path

from PIL import Image

from fibstream.app.catalogue import segmentations
from fibstream.app.rows import colouring, rows_of
from fibstream.app.solid import of_dataset, of_volume
from fibstream.core.dataset import RECORD
from fibstream.core.errors import WrongUse
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from .outputs import check_file, write_file
from .progress import track


def draw_labels(
    path: str, out: Path, *, raw: str | None, edge: int,
    voxel_size_nm: tuple[float, float, float] | None,
) -> None:  # fmt: skip
    """Write a picture of labels; raise WrongUse before anything is written."""
    if out.suffix.lower() != ".png":
        raise WrongUse(f"--out {out}: expected a name that ends in .png")
    check_file(out, inputs=[path, raw])
    place, _, inside = path.partition("#")
    if (Path(place) / RECORD).is_file():
        if raw is not None or voxel_size_nm is not None:
            raise WrongUse(f"{place}: a dataset has its own; expected no --raw or --voxel-size-nm")
        image = _of_dataset(Path(place), inside, edge)
    else:
        image = of_volume(path, raw, voxel_size_nm, track, edge)
    data = io.BytesIO()
    image.save(data, "PNG")
    write_file(out, data.getvalue())


def _of_dataset(root: Path, inside: str, edge: int) -> Image.Image:
    files = LocalFiles(root)
    dataset = read_dataset(files)
    every = segmentations(dataset, files)
    chosen = [found for found in every if inside.strip("/") in ("", found.group)]
    if len(chosen) != 1:
        names = ", ".join(f"{root}#{found.group}" for found in every) or "no labels at all"
        raise WrongUse(f"{root}{'#' if inside else ''}{inside}: expected one of {names}")
    (found,) = chosen
    rows = rows_of(root / found.table)
    image = of_dataset(root, dataset, found.group, colouring(rows, dataset), track, edge=edge)
    if image is None:
        raise WrongUse(f"{root}#{found.group}: holds nothing to show yet")
    return image
