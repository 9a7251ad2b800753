"""How often an object is pierced: Euler numbers and the genus."""

from collections.abc import Sequence

from .objects import Column, Measure, Objects, Values


def _compute(objects: Objects) -> Sequence[Values]:
    six, all_ = objects.total["euler"].T
    return six, all_, 1 - all_


_EULER = "pieces minus tunnels plus cavities, where voxels are connected by {0}"
TOPOLOGY = Measure(
    {
        "euler_6": Column("int64", _EULER.format("faces alone")),
        "euler_26": Column("int64", _EULER.format("faces, edges and corners")),
        "genus": Column(
            "int64",
            "1 - euler_26: the tunnels of an object in one piece without cavities; each further "
            "piece or cavity makes it one less",
        ),
    },
    _compute,
)
