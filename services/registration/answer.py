"""A streamed registration as named arrays, and back: what its stage writes, one file, equal bits.

What was found is all there; pictures, ITK's files and the warped light are made of it.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fibstream.core.keys import canonical
from fibstream.core.stage import Arrays

from .held_out import Score
from .port import Image, Judgement, Registration
from .transform import Spline, Transform

UNKNOWN = Judgement("unregistered", (), math.nan, math.nan, 0.0, 0, math.nan, 0.0)


class Answer(NamedTuple):
    """A judgement, and the registration unless there is none: too little landed, or refused.

    ``landed`` is the share of the cells of the volume, as far as it is known, that it is made of,
    ``valid`` where the registration is supported (`support`); None without one. ``apart`` is the
    error of the held-out channel, None without one or without a registration. ``light`` is the hash
    by which its dataset keeps the light image.
    """

    judgement: Judgement
    found: Registration | None
    landed: float
    valid: Image | None = None
    apart: Score | None = None
    light: str = ""


def none_yet(reason: str, landed: float) -> Answer:
    """Return the answer that there is none, and why."""
    return Answer(dataclasses.replace(UNKNOWN, reasons=(reason,)), None, landed)


def to_arrays(answer: Answer, asked: Mapping[str, Any] | None = None) -> Arrays:
    """Return an answer as named arrays, with what was asked for where no dataset records it."""
    facts = facts_of(answer)
    if answer.light:
        facts["light"] = answer.light
    if asked is not None:
        facts["asked"] = dict(asked)
    arrays: Arrays = {"facts": np.frombuffer(canonical(facts), np.uint8)}
    found = answer.found
    if found is None:
        return arrays
    arrays |= {"points_nm": found.points_nm, "miss_nm": found.miss_nm}
    for name, transform in (("", found.transform), ("affine_", found.affine)):
        arrays |= {f"{name}matrix": transform.matrix, f"{name}offset": transform.offset}
    if (spline := found.transform.spline) is not None:
        arrays |= {f"spline_{f.name}": getattr(spline, f.name) for f in dataclasses.fields(Spline)}
    for name, image in (("error", found.error_map), ("valid", answer.valid)):
        if image is not None:
            place = np.array([image.voxel_nm, image.corner_nm])
            arrays |= {name: np.asarray(image.voxels), f"{name}_place_nm": place}
    return arrays


def facts_of(answer: Answer) -> dict[str, Any]:
    """Return what a report says of an answer, as JSON has it."""
    return {
        "judgement": judgement_values(answer.judgement), "landed": answer.landed,
        "held_out": None if answer.apart is None else answer.apart._asdict(),
    }  # fmt: skip


def from_arrays(arrays: Arrays) -> Answer:
    """Return the answer that `to_arrays` was given.

    Raises ValueError, KeyError or TypeError for other arrays.
    """
    facts = json.loads(arrays["facts"].tobytes())
    judgement = _judgement(facts["judgement"])
    if "matrix" not in arrays:
        return Answer(judgement, None, facts["landed"], light=facts.get("light", ""))
    spline = None
    if "spline_coefficients" in arrays:
        spline = Spline(*(_own(arrays[f"spline_{f.name}"]) for f in dataclasses.fields(Spline)))
    found = Registration(
        Transform(_own(arrays["matrix"]), _own(arrays["offset"]), spline), judgement,
        Transform(_own(arrays["affine_matrix"]), _own(arrays["affine_offset"])),
        _own(arrays["points_nm"]), _own(arrays["miss_nm"]), _image(arrays, "error"),
    )  # fmt: skip
    apart = None if facts["held_out"] is None else Score(**facts["held_out"])
    valid = _image(arrays, "valid")
    return Answer(judgement, found, facts["landed"], valid, apart, facts.get("light", ""))


def asked_of(arrays: Arrays) -> dict[str, Any]:
    """Return what `to_arrays` was given of what was asked for; raises as `from_arrays` does."""
    return dict(json.loads(arrays["facts"].tobytes())["asked"])


def judgement_values(judgement: Judgement) -> dict[str, Any]:
    """Return a judgement as JSON has it: null where a number is not known."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(judgement).items()
    }


def _judgement(values: dict[str, Any]) -> Judgement:
    known: dict[str, Any] = {k: math.nan if v is None else v for k, v in values.items()}
    known["reasons"] = tuple(known["reasons"])
    return Judgement(**known)


def _image(arrays: Arrays, name: str) -> Image | None:
    if name not in arrays:
        return None
    voxel, corner = (_triple(row) for row in arrays[f"{name}_place_nm"].tolist())
    return Image(_own(arrays[name]), voxel, corner)


def _own(array: np.ndarray[Any, Any]) -> Any:
    """Return a copy that may be written to, as compiled code takes arrays."""
    return np.array(array)


def _triple(values: list[float]) -> tuple[float, float, float]:
    z, y, x = values
    return z, y, x
