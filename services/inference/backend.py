"""What a backend is: a runtime that runs networks on one kind of hardware.

Each is one file of ``edges/backends`` and one entry there; nothing else names it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index

AUTO = "auto"
MODEL = "model"  # the tile of a network's file
MEMORY_GB = 2.5  # of a worker: two of them beside all else in 8 GB
FP32 = "fp32"  # the precision that others are measured against
INT8 = "int8"  # of networks with a calibration alone; what a backend loads is rounded already
# Of the smooth block at a precision below fp32, compared with the reference engine. In bf16 the
# released network has 0.09 % and 8 there (on EM 0.0004 % and 1), one of random weights 0.9 %; in
# int8 0.33 % and 21 (on EM 0.01 to 0.2 % and 8).
MAX_FLIPS = 5e-3  # share of voxels on the other side of the surface
MAX_LEVELS = 32  # grey levels that a voxel is off: at the surface 13 nm of a squash length of 50
# Of the same block in fp32, where sums are in another order: at a halfway value one level. A
# processor's backend that nobody named must change no side at all.
EXACT_FLIPS, EXACT_LEVELS = 0.0, 1


class Wanted(NamedTuple):
    """A backend, a precision and a tile as they were asked for."""

    backend: str = AUTO
    precision: str = AUTO
    tile: str = MODEL  # or `AUTO`, or Z,Y,X
    memory_gb: float = MEMORY_GB  # what a tile may take, but that of the file

    @property
    def by_name(self) -> bool:
        """Whether any of them was asked for by name."""
        return (self.backend, self.precision, self.tile) != (AUTO, AUTO, MODEL)


class Runner(Protocol):
    """A network loaded by a backend, for one input shape."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What else the bits depend on, such as the device or the kernels: part of the profile."""

    def __call__(self, tile: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the output (1, classes, z, y, x) of a tile (1, 1, z, y, x)."""


Load = Callable[[bytes, Index, str, int], Runner]  # of an ONNX file, tile, precision, threads


@dataclass(frozen=True)
class Backend:
    """A backend as data.

    Attributes
    ----------
    name
        As users name it.
    provider
        What a profile records: no other backend has it.
    precisions
        Those that it knows; `AUTO` is the first.
    hint
        What brings it to a machine that lacks it.
    runtime
        Name and version of what is installed; None: nothing is.
    unusable
        Why it cannot compute here at a precision; None where it can. Asked only where installed.
    load
        Makes a network ready to run.
    automatic
        Whether `AUTO` may choose it where it is usable.
    on_gpu
        Whether it computes on a GPU: then nothing else takes its place without being asked.
    hides_nan
        Whether a NaN inside a network may become a number, so that what failed looks like a result:
        then it runs only networks that are proven to have none (see ``bound``).
    """

    name: str
    provider: str
    precisions: tuple[str, ...]
    hint: str
    runtime: Callable[[], str | None]
    unusable: Callable[[str], str | None]
    load: Load
    automatic: bool = True
    on_gpu: bool = False
    hides_nan: bool = False

    def why_not(self, precision: str) -> str | None:
        """Return why it cannot be used here, with what would help; None where it can."""
        if self.runtime() is None:
            return f"is not installed: {self.hint}"
        return self.unusable(precision)


def candidates(wanted: Wanted, backends: Sequence[Backend]) -> list[tuple[Backend, str]]:
    """Return what to try in turn, each with its precision; the first that runs a network has it.

    Parameters
    ----------
    wanted
        What was asked for. A backend that is named is the only one.
    backends
        All, the fastest first; the last is always there, in fp32.

    Raises
    ------
    WrongUse
        There is no such backend, it lacks the precision, or it cannot be used here.
    """
    if wanted.backend != AUTO:
        backend = _named(wanted.backend, backends)
        precision = backend.precisions[0] if wanted.precision == AUTO else wanted.precision
        _check_precision(precision, [backend])
        why = backend.why_not(precision)
        if why is not None:
            raise WrongUse(f"backend {backend.name} {why}")
        return [(backend, precision)]
    # Never less exact than fp32 unless somebody asks for it.
    precision = FP32 if wanted.precision == AUTO else wanted.precision
    _check_precision(precision, backends)
    able = [b for b in backends if precision in b.precisions]
    found = [(b, precision) for b in able if b.automatic and b.why_not(precision) is None]
    if not found:
        whys = "; ".join(f"{b.name} {b.why_not(precision) or 'only by name'}" for b in able)
        raise WrongUse(f"precision {precision}: no backend computes with it here: {whys}")
    return found


def _named(name: str, backends: Sequence[Backend]) -> Backend:
    for backend in backends:
        if backend.name == name:
            return backend
    known = ", ".join([AUTO, *(b.name for b in backends)])
    raise WrongUse(f"backend {echo(name, 40)}: expected one of {known}")


def _check_precision(precision: str, backends: Sequence[Backend]) -> None:
    known = sorted({p for backend in backends for p in backend.precisions})
    if precision not in known:
        of = f" of backend {backends[0].name}" if len(backends) == 1 else ""
        raise WrongUse(
            f"precision {echo(precision, 40)}: expected one{of}: {', '.join([AUTO, *known])}"
        )


def recorded(profile: Mapping[str, str], backends: Sequence[Backend]) -> tuple[Backend, str]:
    """Return the backend and precision of a profile; raise WrongUse where none is known.

    A record that tells of none is of a version that had only the reference, the last.
    """
    if "provider" not in profile:
        return backends[-1], FP32
    for backend in backends:
        if backend.provider == profile["provider"]:
            precision = profile.get("precision", FP32)
            _check_precision(precision, [backend])
            return backend, precision
    raise WrongUse(
        f"this version knows no backend {echo(profile['provider'], 60)}; expected one of "
        f"{', '.join(b.provider for b in backends)}"
    )


def deviation(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> tuple[float, int]:
    """Return the share of voxels across the surface, and by how many grey levels one is off."""
    flips = float(np.mean((found > 127) != (exact > 127)))
    return flips, int(np.abs(found.astype(np.int16) - exact.astype(np.int16)).max())


def judged(
    name: str, precision: str, flips: float, levels: int, *, exact: bool = False
) -> Mapping[str, str]:
    """Return the record of a deviation from the reference; raise WrongUse for too large a one.

    ``exact`` allows what another order of sums in fp32 may change, else what rounding may.
    """
    most, furthest = (EXACT_FLIPS, EXACT_LEVELS) if exact else (MAX_FLIPS, MAX_LEVELS)
    if flips > most or levels > furthest:
        advice = f"use precision {FP32}" if precision != FP32 else "use backend onnxruntime"
        raise WrongUse(
            f"model {name}: in {precision} {100 * flips:.2g} % of the check's voxels change sides"
            f" and one is off by {levels} grey levels; allowed: {100 * most:g} % and {furthest};"
            f" {advice}"
        )
    return {"flips": f"{flips:.6f}", "levels": str(levels)}


JUDGED = frozenset({"flips", "levels"})  # of the profile: told once, when a dataset is created
