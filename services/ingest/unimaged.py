"""Areas of one value in what lands: where nobody declared them, a person is told."""

import numpy as np
from numpy.typing import NDArray

from fibstream.kernels.absent import constant_area

WINDOW = 512  # voxels an edge of what is looked at of a slice: padding lies at its corners

GIVE = "create the dataset with"  # a dataset that is there keeps what it declares

Area = tuple[float, float]  # the value, and its share of what was looked at


def undeclared(found: Area | None, dtype: np.dtype[np.generic], declared: float | None) -> bool:
    """Whether an area has another value than the one that a dataset declares."""
    if found is None:
        return False
    return declared is None or found[0] != float(dtype.type(declared))


def area_in(voxels: NDArray[np.generic], declared: float | None) -> Area | None:
    """Return the largest undeclared area of one value; None where there is none.

    Parameters
    ----------
    voxels
        What lands, (z, y, x): of every slice two opposite corners are looked at.
    declared
        The value that the dataset declares for what was never imaged.
    """
    found: list[Area] = []
    for one in voxels:
        for corner in (one[:WINDOW, :WINDOW], one[-WINDOW:, -WINDOW:]):
            area = constant_area(corner[None])
            if area is not None and undeclared(area, voxels.dtype, declared):
                found.append(area)
    return max(found, key=lambda area: area[1], default=None)


def unimaged_text(area: Area, declared: float | None, give: str) -> str:
    """Return what a person is told of an area; ``give`` says how the flag is given."""
    value, share = area
    kept = "" if declared is None else f" (declared: {declared:.9g})"
    return (
        f"up to {share:.1%} of a slice are areas of the one value {value:.9g}{kept}; if nothing "
        f"was imaged there, {give} --absent-value {value:.9g}, or the network may find objects in "
        "them"
    )
