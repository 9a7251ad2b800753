"""Light images that a dataset keeps: taken in when it is designed, named by their content.

Workers on other machines see the dataset's store alone, and what a registration is made of must
not change under it: so the dataset has the voxels, and no path to them.
"""

import contextlib
import math

import numpy as np

from fibstream.core.arrays import Corrupt, decode_arrays, encode_arrays
from fibstream.core.errors import LimitExceeded, Poison, WrongUse
from fibstream.core.keys import content_hash
from fibstream.core.ports import Files
from fibstream.core.service import Taken
from fibstream.services.registration.planned import Asked, Light, file_name, planned
from fibstream.services.registration.port import Image
from fibstream.store.gate import Gate
from fibstream.volumes.sources import Source

from .images import read_light

MAX_BYTES = 1 << 30  # of its voxels: they are in memory, compressed beside it, and sent at once


def take(asked: Asked, gate: Gate) -> Taken:
    """Read the light images of a registration; return what a dataset records and keeps of them.

    Raises WrongUse for a file that is no light image, or for a held-out channel that is the one to
    register, and LimitExceeded for too large a one.
    """
    image, light, files = _taken(asked, asked.light, gate)
    if asked.held_out is None:
        return Taken(planned(asked, light), files)
    apart, held, more = _taken(asked, asked.held_out.light, gate)
    if np.array_equal(image.voxels, apart.voxels):
        raise WrongUse(f"registration: held_out: light {held.file} is what it registers")
    return Taken(planned(asked, light, held), {**files, **more})


def _taken(asked: Asked, path: str, gate: Gate) -> tuple[Image, Light, dict[str, bytes]]:
    """Read one light image: its voxels, what is recorded of it, and the file that is kept."""
    image = read_light(path, asked.light_voxel_nm, gate=gate, check=_check_size).image
    z, y, x = image.voxels.shape
    light = Light(
        file=file_name(path), hash=content_hash(image.voxels), shape=(z, y, x),
        dtype=str(image.voxels.dtype), voxel_nm=image.voxel_nm, corner_nm=image.corner_nm,
    )  # fmt: skip
    return image, light, {light.path: encode_arrays({"light": np.asarray(image.voxels)})}


def _check_size(source: Source) -> None:
    """Raise LimitExceeded for more than a dataset keeps, before it is read."""
    size = math.prod(source.shape) * source.dtype.itemsize
    if size > MAX_BYTES:
        raise LimitExceeded(
            f"{source.name}: light of {size / 1e9:.2f} GB; a dataset keeps at most "
            f"{MAX_BYTES / 1e9:.2f} GB: crop it to the specimen, or average it"
        )


def kept(files: Files, light: Light) -> Image:
    """Return the light image that a dataset keeps; raise Poison where it is gone or damaged."""
    handle = files.open(light.path)
    if handle is None:
        raise Poison(f"the dataset has no file {light.path}")
    with contextlib.closing(handle):
        data = handle.read(0, handle.size)
    try:
        voxels = decode_arrays(data)["light"]
    except (Corrupt, KeyError) as error:
        raise Poison(f"{light.path}: damaged; expected the voxels of {light.file}") from error
    if voxels.nbytes > MAX_BYTES or math.prod(light.shape) != voxels.size \
            or content_hash(voxels) != light.hash:  # fmt: skip
        raise Poison(f"{light.path}: damaged; expected the voxels of {light.file}")
    return Image(voxels, light.voxel_nm, light.corner_nm)
