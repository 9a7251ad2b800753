"""``registration:`` in a pipeline: what a user writes, and what a dataset records of it."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from fibstream.core.dataset import MAX_PART, Dataset, Frozen, Name, Part
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import WrongUse

from .settings import Microscope, Settings, microscope_of

Triple = tuple[float, float, float]
MAX_PATH = 4096  # characters, as Linux takes them
LEAST_NM, MOST_NM = 1.0, 5000.0  # of a light image's voxel
Length = Annotated[float, Field(strict=True, ge=LEAST_NM, le=MOST_NM)]
Grey = Annotated[float, Field(strict=True, ge=0, le=255)]


AS_WRITTEN = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AskedHeld(Frozen):
    """``held_out:`` of an entry: another channel and its prediction, for the error alone."""

    model_config = AS_WRITTEN

    light: str = Field(min_length=1, max_length=MAX_PATH)
    source: str = Field(alias="from", max_length=MAX_PART)


class Asked(Frozen):
    """One entry of ``registration:`` as a user writes it."""

    model_config = AS_WRITTEN

    name: Name  # of registration/<name> and lm/<name>
    light: str = Field(min_length=1, max_length=MAX_PATH)  # a volume's path
    source: str = Field(alias="from", max_length=MAX_PART)  # a prediction
    microscope: str = Field(default="sim", max_length=64)
    window: tuple[Grey, Grey] | None = None
    light_voxel_nm: tuple[Length, Length, Length] | None = None
    held_out: AskedHeld | None = None


class Light(Frozen):
    """A light image that a dataset keeps; lengths in nm, (z, y, x)."""

    file: str = Field(max_length=MAX_PART)  # what its file was called, for people
    hash: Part  # content hash of its voxels, by which it is stored
    shape: tuple[int, int, int]
    dtype: str
    voxel_nm: Triple
    corner_nm: Triple

    @property
    def path(self) -> str:
        """Path of its file in the dataset."""
        return f"provenance/lights/{self.hash}"


class Held(Frozen):
    """A channel that registration does not see, and its prediction: the error is that of these."""

    source: Name
    light: Light


class Planned(Frozen):
    """One registration of a dataset, every setting spelled out."""

    name: Name
    source: Name  # the prediction
    light: Light
    psf_nm: tuple[float, float]
    smooth_nm: float
    window: tuple[float, float]
    held_out: Held | None = None

    @property
    def sources(self) -> list[str]:
        """The predictions that it reads; the first is the one that is registered."""
        return [self.source] + ([self.held_out.source] if self.held_out else [])

    @property
    def path(self) -> str:
        """Path of what its stage writes."""
        return f"summaries/registration/{self.name}"

    @property
    def microscope(self) -> Microscope:
        """The light microscope's point spread."""
        return Microscope(self.psf_nm, self.smooth_nm)

    @property
    def settings(self) -> Settings:
        """Settings of the search and the fit."""
        return Settings(window=self.window)


def planned(asked: Asked, light: Light, held: Light | None = None) -> Planned:
    """Return a registration with every setting spelled out, of light images that are taken in.

    ``held`` is that of the held-out channel. Raises WrongUse for a setting that is of no use.
    """
    apart = None
    if asked.held_out is not None:
        assert held is not None
        apart = Held(source=asked.held_out.source, light=held)
    microscope = microscope_of(asked.microscope, "registration: microscope")
    settings = Settings() if asked.window is None else Settings(window=asked.window)
    return Planned(
        name=asked.name, source=asked.source, light=light, psf_nm=microscope.psf_nm,
        smooth_nm=microscope.smooth_nm, window=settings.window, held_out=apart,
    )  # fmt: skip


def resolve(dataset: Dataset, entries: Sequence[Planned]) -> list[Planned]:
    """Return registrations; raise WrongUse for one without its prediction, or two of a name."""
    known, names = [p.name for p in dataset.predictions], set[str]()
    for entry in entries:
        for source in entry.sources:
            if source not in known:
                raise WrongUse(f"registration: no prediction {echo(source, 70)}: {listed(known)}")
        if len(set(entry.sources)) < len(entry.sources):
            raise WrongUse(f"registration: held_out: from {cut(entry.source)} is what it registers")
        if entry.name.lower() in names:
            raise WrongUse(f"registration: {cut(entry.name)} is named twice")
        names.add(entry.name.lower())
        entry.settings, entry.microscope  # noqa: B018  (they refuse what is of no use)
    return list(entries)


def registrations_of(dataset: Dataset) -> list[Planned]:
    """Return the registrations of a dataset; raise WrongUse where its record is forged."""
    try:
        steps = [Planned.model_validate(dict(s)) for s in dataset.steps.get("registration", ())]
    except ValidationError as error:
        raise WrongUse(f"registration: {error.errors()[0]['msg']}") from None
    return resolve(dataset, steps)


def name_of(light: str) -> str:
    """Return the name of a registration whose user gave none: the array's inside, or the file's."""
    place, _, inside = light.partition("#")
    last = [part for part in inside.split("/") if part not in ("", "s0", "0")]
    return last[-1] if last else place.rstrip("/").rpartition("/")[2].partition(".")[0]


def file_name(path: str) -> str:
    """Return what people call a volume at a path: its file and what # names inside it."""
    return cut(path.rstrip("/").rpartition("/")[2], MAX_PART)
