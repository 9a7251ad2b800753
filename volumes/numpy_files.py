"""Plain NumPy files: ``.npy`` (one array, mapped) and ``.npz`` (several, chosen by key).

The formats are those of ``numpy.lib.format``.  An ``.npy`` file has no voxel size; in an ``.npz``
file it is the array ``voxel_size_nm_zyx``: three numbers (z, y, x) in nanometres.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fibstream.core.errors import WrongUse

from .formats import Voxels, of_array
from .lengths import Lengths, combine, statement

NPZ_SIZE = "voxel_size_nm_zyx"


def open_npy(path: Path) -> Voxels:
    """Return the array (..., z, y, x) of an npy file, mapped into memory; any dtype."""
    return of_array(np.load(path, mmap_mode="r", allow_pickle=False), Lengths())


def open_npz(path: Path, key: str | None, prefer: str | None) -> Voxels:
    """Return one array (..., z, y, x) of an npz file, held in memory.

    Parameters
    ----------
    path : Path
        The file; the array ``voxel_size_nm_zyx`` in it is the voxel size.
    key : str or None
        The name of the array. None: the one called ``prefer``, else the only one with three axes.
    prefer : str or None
        The name to be preferred where several arrays have three axes.

    Raises
    ------
    WrongUse
        If there is no array of that name, or without a name none or more than one volume.
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
    return combine([statement(NPZ_SIZE, size, ["nm"] * 3)])


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
