"""Contact against chance: what was observed beside what random placements have."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fibstream.kernels.tally import Tally

from .sites import area_nm2

INTERVAL = (0.025, 0.975)


class Measures(NamedTuple):
    """What is measured of all contacts of two organelles, or of one (``same``).

    ``counts``: how many objects both have, 1 or more each; voxels in nm, ``(z, y, x)``.
    """

    counts: tuple[int, int]
    voxel_size_nm: Sequence[float]
    same: bool = False

    def of(self, found: Tally) -> dict[str, float]:
        """Return the number of contacts, areas in nm2, and shares of objects that have a contact.

        Areas are those of tables of contacts; of one organelle both sides together.
        """
        first, second = (area_nm2(faces, self.voxel_size_nm) for faces in found.faces)
        share_a, share_b = (n / of for n, of in zip(found.touching, self.counts, strict=True))
        if self.same:
            return {"contacts": float(found.sites), "area_nm2": first + second, "share": share_a}
        return {
            "contacts": float(found.sites), "area_a_nm2": first, "area_b_nm2": second,
            "share_a": share_a, "share_b": share_b,
        }  # fmt: skip


def placement_table(drawn: Sequence[Tally], measures: Measures) -> pa.Table:
    """Return what each random placement has: a row each, with a column for each measure."""
    rows = [{"placement": n} | measures.of(found) for n, found in enumerate(drawn)]
    return pa.Table.from_pylist(rows)


def null_table(observed: Tally, placements: pa.Table, measures: Measures) -> pa.Table:
    """Return a row for each measure: observed, and what chance gives.

    Columns: ``measure``, ``observed``, ``null_mean``, ``null_low`` and ``null_high`` (the middle
    95 % of the placements), ``ratio`` of observed to mean (not known where that is 0), ``p_more``
    and ``p_fewer``: the share of placements, the observed one among them, that have at least, or
    at most, as much. So none is 0, and where the objects lie as if placed by chance, ``p_more`` is
    at most any x with a probability of at most x (Phipson and Smyth 2010).
    """
    found = measures.of(observed).items()
    return pa.Table.from_pylist([_row(n, o, placements[n].to_numpy()) for n, o in found])


def _row(name: str, observed: float, null: NDArray[np.float64]) -> dict[str, Any]:
    mean, (low, high) = float(null.mean()), np.quantile(null, INTERVAL).tolist()
    return {
        "measure": name, "observed": observed, "null_mean": mean, "null_low": low,
        "null_high": high, "ratio": observed / mean if mean else None,
        "p_more": (1 + int((null >= observed).sum())) / (1 + len(null)),
        "p_fewer": (1 + int((null <= observed).sum())) / (1 + len(null)),
    }  # fmt: skip
