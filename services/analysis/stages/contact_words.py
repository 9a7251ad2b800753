"""The word ``contacts`` of a pipeline: which organelles, how near, and by which rule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from fibstream.core.dataset import MAX_NAME, Dataset, Frozen, check_name
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import WrongUse
from fibstream.core.stage import Block, Input, Patch
from fibstream.kernels.near import Voxel

from .contact_presets import PRESETS

MAX_DISTANCE_NM = 1000.0  # a micrometre: beyond it nothing touches
# Voxels an axis from a voxel to what is near it: it is compared with up to 137,000 others then, in
# 0.3 ms (measured), and with 64 it would be with a million. Contacts in use reach 10 to 80 nm.
MAX_REACH = 32
MAX_VOLUME_NM3 = 1e16  # as of the objects of a recipe


class Contact(Frozen):
    """One entry of ``contacts:``: two organelles (or one twice) and the contact distance."""

    a: str = Field(max_length=MAX_NAME)
    b: str = Field(max_length=MAX_NAME)
    distance_nm: float = Field(ge=0, le=MAX_DISTANCE_NM, strict=True)
    kind: Literal["naive", "refined"] = "naive"
    name: str = Field(default="", max_length=MAX_NAME)
    ties: Literal["smallest", "java"] = "smallest"
    loses: str | None = Field(default=None, max_length=MAX_NAME)  # the voxels that both have
    min_volume_nm3: float = Field(default=0, ge=0, le=MAX_VOLUME_NM3, strict=True)
    min_rule: Literal["below", "ceil"] = "below"
    # One of the published pairs: what is not given is as there. A record spells it all out.
    preset: str = Field(default="", max_length=MAX_NAME, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "preset" not in given:
            return given
        name = given["preset"]
        if not isinstance(name, str) or name not in PRESETS:
            raise ValueError(f"preset {echo(name, 40)}: expected {listed(PRESETS)}")
        return PRESETS[name].fill(given)

    @property
    def path(self) -> str:
        """The stage and the array of its contacts."""
        return f"contacts/{self.name}"

    @property
    def fragments(self) -> Input:
        """The fragments of its contacts."""
        return Input(f"contact-fragments/{self.name}", f"fragments/{self.path}", "uint64")

    @property
    def summary(self) -> Input:
        """The summaries of its fragments."""
        return Input(self.fragments.stage, f"summaries/contact-fragments/{self.name}")

    @property
    def labels(self) -> list[str]:
        """The labels that it reads: of one organelle twice a single one."""
        return list(dict.fromkeys(f"labels/{name}" for name in (self.a, self.b)))

    def sides(self, block: Block) -> tuple[Patch, Patch | None]:
        """Return the labels of both organelles, None for the second of one organelle twice.

        That which ``loses`` the voxels that both have is 0 there.
        """
        one, *rest = (block.patches[path] for path in self.labels)
        other = rest[0] if rest else None
        if other is None or self.loses is None:
            return one, other
        if self.loses == self.a:
            return replace(one, array=np.where(other.array != 0, np.uint64(0), one.array)), other
        return one, replace(other, array=np.where(one.array != 0, np.uint64(0), other.array))

    def least(self, voxel_size_nm: Voxel) -> int:
        """Return how many voxels a contact has at least; `ceil` leaves out one more."""
        voxel = math.prod(Fraction(str(edge)) for edge in voxel_size_nm)
        count = math.ceil(Fraction(str(self.min_volume_nm3)) / voxel)
        return max(count + (self.min_rule == "ceil"), 1)


def resolve(dataset: Dataset, entries: Sequence[Contact]) -> list[Contact]:
    """Return contacts with a before b and a name each; raise WrongUse for what cannot be made."""
    known, found = [o.name for o in dataset.organelles], list[Contact]()
    for entry in entries:
        for name in (entry.a, entry.b):
            if name not in known:
                raise WrongUse(f"contacts: no organelle {echo(name, 70)}: {listed(known)}")
        a, b = sorted((entry.a, entry.b))
        pair = f"{a}--{b}"
        name = pair if entry.name in ("", pair) else _named(entry.name)
        check_contact(dataset, entry, name)
        if name.lower() in {other.name.lower() for other in found}:
            raise WrongUse(
                f"contacts: {cut(name)} is named twice; give one of them a name of its own"
            )
        found.append(entry.model_copy(update={"a": a, "b": b, "name": name}))
    return found


def check_contact(dataset: Dataset, entry: Contact, name: str) -> None:
    """Raise WrongUse for a distance or options that the organelles or the voxels do not allow."""
    if max(entry.distance_nm / edge for edge in dataset.voxel_size_nm) + 1 > MAX_REACH:
        raise WrongUse(
            f"contacts {cut(name, 50)}: distance_nm {entry.distance_nm:g}: expected at most "
            f"{(MAX_REACH - 1) * min(dataset.voxel_size_nm):g}, {MAX_REACH - 1} of the "
            "smallest edge of a voxel"
        )
    if entry.loses is not None and (entry.a == entry.b or entry.loses not in (entry.a, entry.b)):
        raise WrongUse(
            f"contacts: loses {echo(entry.loses, 70)}: expected one of two different organelles,"
            f" {cut(entry.a, 50)} and {cut(entry.b, 50)}"
        )
    if entry.ties == "java" and len(set(dataset.voxel_size_nm)) > 1:
        size = ",".join(f"{edge:g}" for edge in dataset.voxel_size_nm)
        raise WrongUse(f"contacts: ties java: expected voxels of equal edges, not {size} nm")


def _named(name: str) -> str:
    try:
        return check_name(name)
    except ValueError as error:
        raise WrongUse(f"contacts: {error}") from None


def contacts_of(dataset: Dataset) -> list[Contact]:
    """Return the contacts of a dataset's pipeline; raise WrongUse where its record is forged."""
    try:
        steps = [Contact.model_validate(dict(s)) for s in dataset.steps.get("contacts", ())]
    except ValidationError as error:
        raise WrongUse(f"contacts: {error.errors()[0]['msg']}") from None
    return resolve(dataset, steps)
