"""How an object's voxels are spread about its centroid: second moments of their centres."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fibstream.services.analysis.axes import principal
from fibstream.services.analysis.limbs import PRODUCT_AXES

from .objects import Column, Measure, Objects, Values

_DIRECTION = "component along {0} of the major axis, a unit vector whose largest is positive"
ELLIPSOID = 20  # an ellipsoid of axes 2 a has the variances a**2 / 5
PAIRS = ["zyx"[a] + "zyx"[b] for a, b in PRODUCT_AXES]


def covariances(objects: Objects) -> NDArray[np.float64]:
    """Return zz, yy, xx, zy, zx and yx of the covariance of each object, ``(n, 6)``, in nm2."""
    found = np.zeros((len(objects.voxels), len(PAIRS)))
    for k, (a, b) in enumerate(PRODUCT_AXES):
        edge = objects.edges[a] * objects.edges[b]
        entries = zip(
            objects.voxels, objects.sums[a], objects.sums[b], objects.products[k], strict=True
        )
        found[:, k] = [
            (n * product - one * other) * edge / (n * objects.unit) ** 2
            for n, one, other, product in entries
        ]
    return found


def _compute(objects: Objects) -> Sequence[Values]:
    covariance = covariances(objects)
    variances, major = principal(covariance)
    gyration = np.sqrt(covariance[:, 0] + covariance[:, 1] + covariance[:, 2])
    return gyration, *covariance.T, *np.sqrt(ELLIPSOID * variances).T, *major.T


_GYRATION = "root of the mean squared distance of its voxels' centres from the centroid, in nm"
_COVARIANCE = "mean of the product of its voxels' offsets from the centroid along {0} and {1}"
_LENGTH = "{0} axis, from end to end, of the solid ellipsoid with the same covariance, in nm"
INERTIA = Measure(
    {
        "radius_of_gyration_nm": Column("double", _GYRATION),
        **{
            f"covariance_{pair}_nm2": Column("double", f"{_COVARIANCE.format(*pair)}, in nm2")
            for pair in PAIRS
        },
        **{
            f"axis_{which}_nm": Column("double", _LENGTH.format(which))
            for which in ("major", "middle", "minor")
        },
        **{
            f"major_axis_{axis}": Column(
                "double",
                _DIRECTION.format(axis),
            )
            for axis in "zyx"
        },
    },
    _compute,
)
