"""The work of `fibstream register`: a light image on the grid of a prediction, with a judgement."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fibstream.core.dataset import RECORD, check_name
from fibstream.core.errors import WrongUse
from fibstream.services.registration.edges.images import Read, read_light, read_prediction
from fibstream.services.registration.edges.stored import CALLED, FOLDER, LM, REPORT
from fibstream.services.registration.held_out import held_out, scored
from fibstream.services.registration.planned import name_of
from fibstream.services.registration.port import Image, Registration, Triple
from fibstream.services.registration.register import register
from fibstream.services.registration.settings import Microscope, Settings, microscope_of
from fibstream.services.registration.support import support
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from .corrected import follow, read_earlier, read_landmarks
from .flags import parse_pair
from .outputs import check_group
from .progress import track
from .registered import Answer, Found, Named, facts_of, write_registered


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
    landmarks: Path | None = None


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
    microscope = microscope_of(asked.microscope, "--microscope")
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
    found, marks = _found(asked, name, (_named(em), _named(light)), (microscope, settings))
    facts = facts_of(name, _named(em), _named(light), found, (microscope, settings))
    facts |= {"landmarks": marks}
    facts |= {"held_out": None if apart is None else _scored(found, apart, microscope, settings)}
    images, by = (em.image, light.image), (microscope, settings)
    made = Found(found, support(found, *images))
    return write_registered(asked.out, name, facts, made, images, by)


def _found(
    asked: Asked, name: str, pair: tuple[Named, Named], by: tuple[Microscope, Settings]
) -> tuple[Registration, dict[str, Any] | None]:
    """Return the registration, and what its report says of the landmarks that it follows."""
    em, light = pair
    if asked.landmarks is None:
        _say(f"registering {_size(em.image)} with {_size(light.image)}")
        return register(em.image, light.image, *by), None
    landmarks = read_landmarks(asked.landmarks)
    earlier = read_earlier(asked.out, name, em, light)
    of = f"on {FOLDER}/{name}" if earlier else "alone"
    _say(f"following {len(landmarks.names)} landmarks of {asked.landmarks} {of}")
    found, facts = follow(landmarks, earlier, em, light, by)
    return found, {"path": str(asked.landmarks), **facts}


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
    try:
        return check_name(asked.name or name_of(asked.light))
    except ValueError as error:
        raise WrongUse(f"--name: {error}") from None


def _check_out(out: Path, name: str) -> None:
    """Raise WrongUse where nothing can be written, or something else has the name of it."""
    check_group(out, datasets=True)
    check_names(out, name)


def check_names(out: Path, name: str) -> None:
    """Raise WrongUse where what has a registration's place below ``out`` is none."""
    if any((out / FOLDER / name / file).is_file() for file in (REPORT, CALLED)):
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


def _scored(
    found: Registration, apart: _Held, microscope: Microscope, settings: Settings
) -> dict[str, Any]:
    """Return the error at the held-out channel."""
    seen = held_out(found.transform, apart.em.image, apart.light.image, microscope, settings)
    names = {"light": apart.light.source.name, "em": apart.em.source.name}
    return names | scored(seen)._asdict()


def _named(read: Read) -> Named:
    return Named(read.source.name, read.image)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _size(image: Image) -> str:
    return " x ".join(map(str, image.voxels.shape)) + " voxels"
