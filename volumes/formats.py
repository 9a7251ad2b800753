"""What every reader of a format returns: ``Voxels``, and the helpers that make them.

A reader returns a file as it was found; ``sources`` checks it.
"""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Retryable, WrongUse
from fibstream.core.grid import Box
from fibstream.store.gate import FREE, Gate

from .display import Display
from .lengths import Lengths, Size
from .positions import Position

log = logging.getLogger(__name__)

CACHE_BYTES = 2**30  # decoded chunks, strips and tiles: the next box along x needs them again
# No file may cost more memory than this and ten times its own size.
SPARE_BYTES, TIMES_SIZE = 10**8, 10
# Of what a service has to unpack whole: its formats without random access are for small volumes.
MAX_UNPACKED = 2**30

REASON_LENGTH = 700  # characters of a message beside the path: metadata that it quotes may be long

NO_DISPLAY = Display()

# Returns rows and columns of plane z, (y, x).
PlaneReader = Callable[[int, slice, slice], NDArray[Any]]


@dataclass(frozen=True)
class Voxels:
    """An array in a file, as a reader found it: unchecked, without leading axes of length one.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x) in voxels if it is a volume; else ``sources`` refuses it.
    dtype : dtype
        As stored, in either byte order.
    lengths : Lengths
        What the file's metadata state of the voxel size, in nanometres.
    fetch : callable
        Takes a ``Box`` inside the array; returns its voxels, (z, y, x) in ``dtype``, in an array
        that belongs to the caller. Files are mapped or opened for each box: none stays open.
    inside : str
        The array that was chosen inside a file or hierarchy; empty if there is no choice.
    notes : tuple of str
        What the user should know of how the file was read; logged as warnings.
    display : Display
        How the file wants its grey values to be shown.
    squash_nm : float, optional
        Of a prediction: it holds ``128 tanh(distance / squash_nm) + 127``; None where not stated.
    position : Position, optional
        Where the volume lies; None where the file does not state it.
    is_distance : bool
        False for a prediction that states that it is of a probability, which has no length.
    declared : {"", "labels", "prediction"}
        What the file's metadata declare it to be; empty where they do not.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    lengths: Lengths
    fetch: Callable[[Box], NDArray[Any]]
    inside: str = ""
    notes: tuple[str, ...] = ()
    display: Display = NO_DISPLAY
    squash_nm: float | None = None
    position: Position | None = None
    is_distance: bool = True
    declared: Literal["", "labels", "prediction"] = ""

    @property
    def voxel_size_nm(self) -> Size | None:
        """The edges of a voxel, (z, y, x); None where the file states none."""
        return self.lengths.size_nm


class Unreadable(ValueError):
    """What is wrong with a file, in words for whoever made it; ``named_errors`` adds its name."""


@contextmanager
def named_errors(what: str, form: str = "") -> Iterator[None]:
    """Turn whatever a library raises into a WrongUse of one line that names ``what``.

    The text of a library is for its developers: it is logged at the level of debugging. ``form`` is
    the kind of file that was expected, where that may be another.
    """
    damaged = f"it is no {form}, or damaged" if form else "it is damaged"
    try:
        yield
    except WrongUse as error:
        if len(str(error)) <= len(what) + REASON_LENGTH:
            raise
        raise WrongUse(f"{str(error)[: len(what) + REASON_LENGTH]} ...") from error
    except Retryable:  # a bucket is away, and nothing is known of the file
        raise
    except Unreadable as error:
        reason = str(error)[:REASON_LENGTH]
        raise WrongUse(f"{what} cannot be read: {reason}") from error
    except OSError as error:
        log.debug("%s: %s", what, error)
        # Libraries seek to impossible places in damaged files.
        reason = (error.errno != errno.EINVAL and error.strerror) or damaged
        raise WrongUse(f"{what} cannot be read: {reason}") from error
    # Libraries raise any kind of exception on damaged files.
    except Exception as error:
        log.debug("%s: %s: %s", what, type(error).__name__, error)
        raise WrongUse(f"{what} cannot be read: {damaged} ({type(error).__name__})") from error


def check_memory(need: int, size: int, what: str, gate: Gate = FREE) -> None:
    """Raise Unreadable where ``need`` bytes would be held in memory for a file of ``size``."""
    most = SPARE_BYTES + TIMES_SIZE * size
    most = most if gate.free else min(most, MAX_UNPACKED)
    if need > most:
        raise Unreadable(
            f"{what} unpacks to {need / 1e6:,.0f} MB from {size / 1e6:,.1f} MB; expected at most "
            f"{most / 1e6:,.0f} MB: save it as .npy, Zarr or N5"
        )


class Decoded:
    """What one call has decoded of files, which may not be much more than they hold.

    A few kilobytes of zeros unpack to gigabytes, for every chunk anew.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._sizes: dict[str, int] = {}
        self._total = 0

    def add(self, path: str, size: int, decoded: int) -> None:
        """Count a part of a file of ``size`` bytes; raise Unreadable where it is too much."""
        self._sizes[path] = size
        self._total += decoded
        held = sum(self._sizes.values())
        if not self._gate.free and self._total > SPARE_BYTES + TIMES_SIZE * held:
            raise Unreadable(
                f"more than {self._total / 1e6:,.0f} MB unpack from {held / 1e6:,.1f} MB for one "
                "chunk: save it uncompressed, with small tiles, or as Zarr or N5"
            )


def without_leading(array: Any) -> Any:
    """Return the array without the axes of one element (t and c) before (z, y, x)."""
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    return array


def of_array(
    array: NDArray[Any],
    lengths: Lengths,
    inside: str = "",
    notes: tuple[str, ...] = (),
    display: Display = NO_DISPLAY,
) -> Voxels:
    """Return an array (..., z, y, x), in memory or mapped, as voxels; each box is a copy."""
    volume = without_leading(array)

    def fetch(box: Box) -> NDArray[Any]:
        return np.array(volume[box.slices()], order="C", subok=False)

    return Voxels(volume.shape, volume.dtype, lengths, fetch, inside, notes, display)


def of_planes(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    lengths: Lengths,
    read_plane: PlaneReader,
    notes: tuple[str, ...] = (),
    display: Display = NO_DISPLAY,
) -> Voxels:
    """Return a stack (z, y, x) that is read plane by plane as voxels."""

    def fetch(box: Box) -> NDArray[Any]:
        zs, ys, xs = box.slices()
        return np.stack([read_plane(z, ys, xs) for z in range(zs.start, zs.stop)])

    return Voxels(shape, dtype, lengths, fetch, notes=notes, display=display)
