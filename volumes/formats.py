"""What every format has in common, and the plain ones: npy and npz.

A function that opens something returns it as it was found; ``sources`` decides whether it will do.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box

from .display import Display
from .lengths import Lengths, Size, state, weigh

CACHE_BYTES = 2**30  # decoded chunks, strips and tiles: the next box along x needs them again
REASON_LENGTH = 240  # characters of a library's message: the rest is its address, not ours

NO_DISPLAY = Display()
NPZ_SIZE = "voxel_size_nm_zyx"

Window = Callable[[int, slice, slice], NDArray[Any]]  # reads of plane z these rows and columns


@dataclass(frozen=True)
class Voxels:
    """What was found at a path: unchecked, but leading axes of one voxel are gone.

    ``fetch`` returns the voxels of a box, in an array that belongs to the caller. Files are mapped
    or opened anew for each box, so none stays open.
    """

    shape: tuple[int, ...]  # (z, y, x) if it is a volume
    dtype: np.dtype[Any]
    lengths: Lengths
    fetch: Callable[[Box], NDArray[Any]]
    inside: str = ""  # the array that was chosen inside a file or hierarchy
    notes: tuple[str, ...] = ()  # what the user should know of how it was read
    display: Display = NO_DISPLAY

    @property
    def voxel_size_nm(self) -> Size | None:
        """(z, y, x); None: the file does not say."""
        return self.lengths.size_nm


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Turn whatever a library raises into one line of wrong use that names ``what``."""
    try:
        yield
    except WrongUse:
        raise
    # Libraries raise anything at all on bytes that they did not expect.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        reason = text.partition(" [source locations=")[0][:REASON_LENGTH]
        raise WrongUse(f"{what} cannot be read: {reason}") from error


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
    """Return an array (in memory or mapped) as voxels; a box is copied out of it."""
    volume = without_leading(array)

    def fetch(box: Box) -> NDArray[Any]:
        return np.array(volume[box.slices()], order="C", subok=False)

    return Voxels(volume.shape, volume.dtype, lengths, fetch, inside, notes, display)


def of_windows(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    lengths: Lengths,
    window: Window,
    notes: tuple[str, ...] = (),
    display: Display = NO_DISPLAY,
) -> Voxels:
    """Return a stack that is read plane by plane as voxels."""

    def fetch(box: Box) -> NDArray[Any]:
        zs, ys, xs = box.slices()
        return np.stack([window(z, ys, xs) for z in range(zs.start, zs.stop)])

    return Voxels(shape, dtype, lengths, fetch, notes=notes, display=display)


def open_npy(path: Path) -> Voxels:
    """Return the array of an npy file, mapped into memory."""
    return of_array(np.load(path, mmap_mode="r", allow_pickle=False), Lengths())


def open_npz(path: Path, key: str | None, prefer: str | None) -> Voxels:
    """Return one array of an npz file, held in memory.

    Without a key it is the array ``prefer`` if there is one, else the only array with three axes.
    The voxel size is the array ``NPZ_SIZE``.
    """
    chosen = "" if key else _only_key(path, prefer)
    key = key or chosen
    # Opened here, because np.load leaves a broken file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if key not in arrays.files:
            raise WrongUse(f"{path} has no array {key}; it has {', '.join(arrays.files)}")
        return of_array(arrays[key], _npz_lengths(arrays), chosen)


def _npz_lengths(arrays: Any) -> Lengths:
    if NPZ_SIZE not in arrays.files:
        return Lengths()
    size = arrays[NPZ_SIZE].astype(float).ravel().tolist()
    if len(size) != 3:
        raise WrongUse(f"{NPZ_SIZE} holds {len(size)} numbers; expected three, (z, y, x)")
    return weigh([state(NPZ_SIZE, size, ["nm"] * 3)])


def _only_key(path: Path, prefer: str | None) -> str:
    """Return the name of the volume in an npz file; only headers are read."""
    headers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    axes = {}
    with zipfile.ZipFile(path) as members:
        for member in members.namelist():
            with members.open(member) as file:
                major, _ = np.lib.format.read_magic(file)
                axes[member.removesuffix(".npy")] = len(headers[major](file)[0])
    volumes = [name for name, count in axes.items() if count >= 3]
    if prefer in volumes:
        volumes = [prefer]
    if not volumes:
        raise WrongUse(f"{path} has no array with axes (z, y, x)")
    if len(volumes) > 1:
        choices = ", ".join(volumes)
        raise WrongUse(f"{path} has several volumes; give {path}#KEY with one of {choices}")
    return volumes[0]
