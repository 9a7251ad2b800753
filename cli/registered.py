"""What a registration leaves on disk: files for other programs, the warped light, the page."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset, clip_chunk
from fibstream.core.grid import Box
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Output
from fibstream.services.registration.answer import judgement_values
from fibstream.services.registration.boxes import CHUNK
from fibstream.services.registration.edges.files import (
    ITK_FILES,
    LANDMARKS,
    NEUROGLANCER,
    write_registration,
)
from fibstream.services.registration.edges.stored import FOLDER, LM, REPORT
from fibstream.services.registration.port import Image, Registration
from fibstream.services.registration.register import prepare
from fibstream.services.registration.settings import Microscope, Settings
from fibstream.services.registration.support import REACH_NM, block
from fibstream.services.registration.transform import Transform
from fibstream.services.registration.warp import stretch_map, warped_block
from fibstream.store import ngff

from .outputs import Volume, new_groups
from .progress import track
from .registering_page import PAGE, Stretch, put_page

VALID = "valid"


class Answer(NamedTuple):
    """What became of it: the result, facts as the report has them, and what was written."""

    found: Registration
    facts: Mapping[str, Any]
    written: Sequence[Path]

    @property
    def status(self) -> str:
        """registered, check or unregistered."""
        return str(self.facts["judgement"]["status"])


class Named(NamedTuple):
    """An image, and what the report calls it."""

    path: str
    image: Image


class Found(NamedTuple):
    """A registration, and where it is supported."""

    registration: Registration
    valid: Image


def facts_of(
    name: str, em: Named, light: Named, found: Registration, by: tuple[Microscope, Settings]
) -> dict[str, Any]:
    """Return all that the report says but what is written."""
    return {
        "name": name,
        "judgement": judgement_values(found.judgement),
        "em": described(em),
        "light": described(light),
        "microscope": dataclasses.asdict(by[0]),
        "settings": dataclasses.asdict(by[1]),
        "affine": {
            "matrix": found.transform.matrix.tolist(),
            "offset_nm": found.transform.offset.tolist(),
        },
        "landmarks": None,
        "frame": "nm, (z, y, x); specimen to light; the centre of the first voxel lies where its "
                 "file states it, else at 0",
    }  # fmt: skip


def described(read: Named) -> dict[str, Any]:
    """Return what the report says of an image: path, shape, place, and a hash of its voxels."""
    image = read.image
    return {
        "path": read.path,
        "shape": list(image.voxels.shape),
        "voxel_nm": list(image.voxel_nm),
        "corner_nm": list(image.corner_nm),
        "hash": digest(np.ascontiguousarray(image.voxels).tobytes()),
    }


def _stretch(transform: Transform, em: Image) -> Stretch:
    """Return det J over det A in the middles of a grid of about 256 nm over the specimen."""
    shape = np.maximum(np.ceil(em.extent_nm / 256.0), 1).astype(int)
    z, y, x = (float(v) for v in em.extent_nm / shape)
    a, b, c = (int(n) for n in shape)
    grid = ((z, y, x), em.corner_nm)
    return Stretch(stretch_map(transform, grid, Box((0, 0, 0), (a, b, c))), (z, y, x))


def write_registered(
    out: Path, name: str, facts: dict[str, Any], made: Found, images: tuple[Image, Image],
    by: tuple[Microscope, Settings],
) -> Answer:  # fmt: skip
    """Write the folder of the registration, and the warped light unless it is unregistered."""
    found, valid = made
    group, warp = f"{FOLDER}/{name}", f"{LM}/{name}"
    right = found.judgement.status != "unregistered"
    stretch = _stretch(found.transform, images[0])
    steps = np.percentile(stretch.values, [0, 1, 50, 99, 100]).tolist()
    names = ("least", "p1", "median", "p99", "most")
    facts["stretch"] = dict(zip(names, steps, strict=True))
    facts["valid"] = {"share": float(valid.grey.mean(dtype=np.float64)), "reach_nm": REACH_NM}
    with new_groups(out, [group, *([warp] if right else [])], datasets=True) as scratch:
        folder = scratch / group
        folder.mkdir(parents=True)
        _put_groups(scratch, folder, written=right)
        if right:
            # First: the metadata of the group that holds it are those of the transform.
            _write_valid(scratch, f"{group}/{VALID}", valid, images[0])
            facts["field_error_nm"] = write_registration(folder, found, images[0])
            write_light(scratch, warp, found.transform, images)
        _put_report(folder, facts)
        pair = prepare(images[0], images[1], *by)
        put_page(folder, (found, valid), pair, stretch, facts)
    if not right:  # of an earlier one nothing stays that this one contradicts
        _remove_light(out, name)
    files = [PAGE, REPORT, *([*ITK_FILES, LANDMARKS, NEUROGLANCER] if right else [])]
    written = [out / group / file for file in files] + ([out / warp] if right else [])
    return Answer(found, facts, written)


def write_none(out: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Write the report of a registration of which nothing is known, in place of an earlier one."""
    group = f"{FOLDER}/{name}"
    with new_groups(out, [group], datasets=True) as scratch:
        folder = scratch / group
        folder.mkdir(parents=True)
        _put_groups(scratch, folder, written=False)
        _put_report(folder, facts)
    _remove_light(out, name)


def _put_report(folder: Path, facts: Mapping[str, Any]) -> None:
    (folder / REPORT).write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")


def _remove_light(out: Path, name: str) -> None:
    shutil.rmtree(out / LM / name, ignore_errors=True)


def _put_groups(scratch: Path, folder: Path, *, written: bool) -> None:
    """Make every folder a Zarr group: a transform's own metadata replace the last one's."""
    for place in (scratch, folder.parent, *(() if written else (folder,))):
        (place / "zarr.json").write_bytes(canonical(ngff.group()))


def write_light(
    scratch: Path, group: str, transform: Transform, images: tuple[Image, Image]
) -> None:
    """Write the light image on the grid of the specimen, block by block."""
    em, light = images
    dtype, grid = str(light.voxels.dtype), (em.voxel_nm, em.corner_nm)
    _write_blocks(
        scratch, em, Output(group, dtype, "mean"),
        lambda box: warped_block(transform, light, grid, box), "warped",
    )  # fmt: skip


def _write_valid(scratch: Path, group: str, valid: Image, em: Image) -> None:
    """Write where the registration is supported, 1, on the grid of the warped light."""
    output = Output(group, "uint8")
    _write_blocks(scratch, em, output, lambda box: block(valid, em, box), "marked as supported")


def _write_blocks(
    scratch: Path, em: Image, output: Output, made: Callable[[Box], NDArray[Any]], what: str
) -> None:
    """Write an array on the grid of the specimen, block by block; ``what`` is said of a block."""
    z, y, x = (c + v / 2 for c, v in zip(em.corner_nm, em.voxel_nm, strict=True))
    a, b, c = em.voxels.shape
    dataset = Dataset(
        name=output.name.rpartition("/")[2], shape=(a, b, c), chunk=clip_chunk(CHUNK, (a, b, c)),
        dtype=output.dtype, voxel_size_nm=em.voxel_nm, offset_nm=(z, y, x),
        contrast=(0, 255),
    )  # fmt: skip
    volume = Volume(scratch, dataset, [output], digest(canonical([output.name])))
    for index in track(list(dataset.grid.indices()), what):
        volume.write(output.name, index, made(dataset.grid.box(index)))
