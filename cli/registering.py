"""The work of `fibstream register`: a light image on the grid of a prediction, with a judgement."""

import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.dataset import RECORD, Dataset, check_name, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Index
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Output
from fibstream.services.registration.edges.files import (
    ITK_FILES,
    LANDMARKS,
    NEUROGLANCER,
    write_registration,
)
from fibstream.services.registration.edges.images import Read, read_light, read_prediction
from fibstream.services.registration.edges.stored import FOLDER, REPORT
from fibstream.services.registration.held_out import held_out
from fibstream.services.registration.port import (
    MICROSCOPES,
    Image,
    Microscope,
    Registration,
    Settings,
    Triple,
)
from fibstream.services.registration.register import prepare, register
from fibstream.services.registration.transform import Transform
from fibstream.services.registration.warp import needed, stretch_map, warped
from fibstream.store import ngff
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from .flags import parse_pair
from .outputs import Volume, check_group, new_groups
from .progress import track
from .registering_page import PAGE, Stretch, put_page

CHUNK: Index = (64, 128, 128)
LM = "lm"


class Asked(NamedTuple):
    """What the flags of the command say."""

    light: str
    em: str
    out: Path
    name: str | None = None
    held_out: str | None = None
    microscope: str = "sim"
    window: str | None = None
    voxel_size_nm: Triple | None = None
    light_voxel_nm: Triple | None = None


class Answer(NamedTuple):
    """What became of it: the result, facts as the report has them, and what was written."""

    found: Registration
    facts: Mapping[str, Any]
    written: Sequence[Path]

    @property
    def status(self) -> str:
        """registered, check or unregistered."""
        return str(self.facts["judgement"]["status"])


class _Held(NamedTuple):
    """A channel that registration does not see: prediction and light."""

    em: Read
    light: Read


def register_light(asked: Asked, settings: Settings | None = None) -> Answer:
    """Register, write what follows from it below ``out``, and return the answer.

    Raises
    ------
    WrongUse
        A flag, an image or ``out`` that is of no use; nothing is written.
    """
    microscope = parse_microscope(asked.microscope)
    settings = settings or Settings()
    if asked.window is not None:
        settings = dataclasses.replace(settings, window=parse_pair(asked.window, "--window"))
    held = _parse_held(asked.held_out)
    name = _name(asked)
    _check_out(asked.out, name)
    em = read_prediction(asked.em, asked.voxel_size_nm, track=track)
    _check_place(asked.out, em)
    light = read_light(asked.light, asked.light_voxel_nm, track=track)
    apart = None
    if held is not None:
        apart = _Held(
            read_prediction(held[1], asked.voxel_size_nm, track=track),
            read_light(held[0], asked.light_voxel_nm, track=track),
        )  # fmt: skip
        _refuse_seen(apart, em, light)
    _say(f"registering {_size(em.image)} with {_size(light.image)}")
    found = register(em.image, light.image, microscope, settings)
    facts = _facts(name, em, light, found, (microscope, settings))
    facts |= {"held_out": None if apart is None else _scored(found, apart, microscope, settings)}
    return _write(asked.out, name, facts, found, (em.image, light.image), (microscope, settings))


def parse_microscope(text: str) -> Microscope:
    """Return a point spread by name, or ``AXIAL,LATERAL`` widths in nm."""
    if text in MICROSCOPES:
        return MICROSCOPES[text]
    expected = f"expected {', '.join(MICROSCOPES)} or AXIAL,LATERAL widths at half maximum, nm"
    try:
        axial, lateral = (float(part) for part in text.split(","))
    except ValueError:
        raise WrongUse(f"--microscope {text}: {expected}") from None
    if not (math.isfinite(axial) and math.isfinite(lateral)):
        raise WrongUse(f"--microscope {text}: {expected}")
    return Microscope((axial, lateral))


def _parse_held(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    light, _, em = text.partition("=")
    if not (light and em):
        raise WrongUse(f"--held-out {text}: expected LIGHT=PREDICTION, two paths")
    return light, em


def _refuse_seen(apart: _Held, em: Read, light: Read) -> None:
    """Raise WrongUse for a channel that is the one to register, or a prediction that is."""
    for held, seen in ((apart.light, light), (apart.em, em)):
        if np.array_equal(held.image.voxels, seen.image.voxels):
            raise WrongUse(f"--held-out {held.source.name}: is what registration sees")


def _name(asked: Asked) -> str:
    """Return the channel's name: that of the flag, of what # names, or of the file."""
    place, _, inside = asked.light.partition("#")
    last = [p for p in Path(inside).parts if p not in ("s0", "0")]
    name = asked.name or (last[-1] if last else Path(place).name.partition(".")[0])
    try:
        return check_name(name)
    except ValueError as error:
        raise WrongUse(f"--name: {error}") from None


def _check_out(out: Path, name: str) -> None:
    """Raise WrongUse where nothing can be written, or something else has the name of it."""
    check_group(out, datasets=True)
    if (out / FOLDER / name / REPORT).is_file():
        return
    for group in (f"{LM}/{name}", f"{FOLDER}/{name}"):
        if (out / group).exists():
            raise WrongUse(f"--out {out}: has {group}, which is no registration; give --name")


def _check_place(out: Path, em: Read) -> None:
    """Raise WrongUse unless the prediction lies inside the dataset that it is written to."""
    if not (out / RECORD).is_file():
        return
    dataset = read_dataset(LocalFiles(out))
    size = np.array(dataset.voxel_size_nm)
    first = np.array(dataset.offset_nm) - size / 2
    extent = [math.inf if n is None else n for n in dataset.shape] * size
    corner, slack = np.array(em.image.corner_nm), np.array(em.image.voxel_nm)
    beyond = (corner < first - slack) | (corner + em.image.extent_nm > first + extent + slack)
    if beyond.any():
        raise WrongUse(f"--em {em.source.name}: does not lie inside the dataset {out}")


def _facts(
    name: str, em: Read, light: Read, found: Registration, by: tuple[Microscope, Settings]
) -> dict[str, Any]:
    """Return all that the report says but what is written."""
    return {
        "name": name,
        "judgement": {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in dataclasses.asdict(found.judgement).items()
        },
        "em": _described(em),
        "light": _described(light),
        "microscope": dataclasses.asdict(by[0]),
        "settings": dataclasses.asdict(by[1]),
        "affine": {
            "matrix": found.transform.matrix.tolist(),
            "offset_nm": found.transform.offset.tolist(),
        },
        "frame": "nm, (z, y, x); specimen to light; the centre of the first voxel lies where its "
                 "file states it, else at 0",
    }  # fmt: skip


def _described(read: Read) -> dict[str, Any]:
    image = read.image
    return {
        "path": read.source.name,
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


def _scored(
    found: Registration, apart: _Held, microscope: Microscope, settings: Settings
) -> dict[str, Any]:
    """Return the error at the held-out channel."""
    scored = held_out(found.transform, apart.em.image, apart.light.image, microscope, settings)
    median = p95 = None  # not known
    if len(scored.error_nm):
        median, p95 = np.percentile(scored.error_nm, [50, 95]).tolist()
    return {
        "light": apart.light.source.name, "em": apart.em.source.name,
        "median_nm": median, "p95_nm": p95,
        "patches": len(scored.error_nm), "lost": scored.patches - len(scored.error_nm),
    }  # fmt: skip


def _write(
    out: Path, name: str, facts: dict[str, Any], found: Registration, images: tuple[Image, Image],
    by: tuple[Microscope, Settings],
) -> Answer:  # fmt: skip
    """Write the folder of the registration, and the warped light unless it is unregistered."""
    group, warp = f"{FOLDER}/{name}", f"{LM}/{name}"
    right = found.judgement.status != "unregistered"
    stretch = _stretch(found.transform, images[0])
    steps = np.percentile(stretch.values, [0, 1, 50, 99, 100]).tolist()
    names = ("least", "p1", "median", "p99", "most")
    facts["stretch"] = dict(zip(names, steps, strict=True))
    with new_groups(out, [group, *([warp] if right else [])], datasets=True) as scratch:
        folder = scratch / group
        folder.mkdir(parents=True)
        _put_groups(scratch, folder, written=right)
        if right:
            facts["field_error_nm"] = write_registration(folder, found, images[0])
            _write_light(scratch, warp, found.transform, images)
        (folder / REPORT).write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n")
        pair = prepare(images[0], images[1], *by)
        put_page(folder, found, pair, stretch, facts)
    if not right:  # of an earlier one nothing stays that this one contradicts
        shutil.rmtree(out / warp, ignore_errors=True)
    files = [PAGE, REPORT, *([*ITK_FILES, LANDMARKS, NEUROGLANCER] if right else [])]
    written = [out / group / file for file in files] + ([out / warp] if right else [])
    return Answer(found, facts, written)


def _put_groups(scratch: Path, folder: Path, *, written: bool) -> None:
    """Make every folder a Zarr group: a transform's own metadata replace the last one's."""
    for place in (scratch, folder.parent, *(() if written else (folder,))):
        (place / "zarr.json").write_bytes(canonical(ngff.group()))


def _write_light(
    scratch: Path, group: str, transform: Transform, images: tuple[Image, Image]
) -> None:
    """Write the light image on the grid of the specimen, block by block."""
    em, light = images
    z, y, x = (c + v / 2 for c, v in zip(em.corner_nm, em.voxel_nm, strict=True))
    a, b, c = em.voxels.shape
    dataset = Dataset(
        name=group.rpartition("/")[2], shape=(a, b, c), chunk=clip_chunk(CHUNK, (a, b, c)),
        dtype=str(light.voxels.dtype), voxel_size_nm=em.voxel_nm, offset_nm=(z, y, x),
        contrast=(0, 255),
    )  # fmt: skip
    outputs = [Output(group, dataset.dtype, "mean")]
    volume = Volume(scratch, dataset, outputs, digest(canonical([group])))
    grid = em.voxel_nm, em.corner_nm
    for index in track(list(dataset.grid.indices()), "warped"):
        volume.write(group, index, warped_block(transform, light, grid, dataset.grid.box(index)))


def warped_block(
    transform: Transform, light: Image, grid: tuple[Triple, Triple], box: Box
) -> NDArray[Any]:
    """Return a block of the light image on another grid, in its own dtype, rounded half up."""
    a, b, c = light.voxels.shape
    held = (light.voxel_nm, light.corner_nm)
    part = needed(transform, held, (a, b, c), grid, box)
    if part is None:
        return np.zeros(box.shape, light.voxels.dtype)
    cut = Image(light.voxels[part.slices()], light.voxel_nm, light.corner_nm)
    found = warped(transform, cut, part.start, (a, b, c), grid, box)
    if light.voxels.dtype.kind == "f":
        return found
    return np.asarray(np.floor(found + np.float32(0.5)), light.voxels.dtype)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _size(image: Image) -> str:
    return " x ".join(map(str, image.voxels.shape)) + " voxels"
