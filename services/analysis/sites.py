"""From sums over the boundary voxels of contact sites to columns of their table."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pyarrow as pa

from fibstream.core.grid import Index
from fibstream.core.stage import Arrays

MEANING = {
    "id_a": "id of the object of the first organelle",
    "id_b": "that of the second",
    "area_a_nm2": "faces of the first object's voxels in the contact towards anything else, in nm2",
    "area_b_nm2": "those of the second",
    "gap_min_nm": "least distance from a boundary voxel in it to the other side, between centres",
    "gap_mean_nm": "mean of these distances over the boundary voxels of both sides, in nm",
}
Parents = Mapping[int, tuple[int, int]]


@dataclass
class Site:
    """Faces (z, y, x) of both sides of a contact, and its boundary voxels by rank of their gap."""

    faces: tuple[list[int], list[int]] = field(default_factory=lambda: ([0] * 3, [0] * 3))
    gaps: dict[int, int] = field(default_factory=dict)


class Common(Mapping[Index, Arrays]):
    """The cells of some rows of which other rows are known as well; each is read when asked for."""

    def __init__(self, cells: Mapping[Index, Arrays], others: Mapping[Index, Arrays]) -> None:
        self._cells, self._indices = cells, dict.fromkeys(i for i in cells if i in others)

    def __getitem__(self, index: Index) -> Arrays:
        """Return the rows of a cell."""
        if index not in self._indices:
            raise KeyError(index)
        return self._cells[index]

    def __iter__(self) -> Iterator[Index]:
        """Yield the cells of which both are known."""
        return iter(self._indices)

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self._indices)


def sum_sites(rows: Iterable[Arrays], parents: Parents, *, same: bool) -> dict[int, Site]:
    """Add up rows of `kernels.sites.measure_sites` by contact; ``same``: of one organelle.

    Its objects are rows of the first side then, and a contact has that with the smaller id first.
    """
    found: dict[int, Site] = {}
    for part in rows:
        columns = (part[n].tolist() for n in ("id", "object", "side", "rank", "voxels", "faces"))
        for id_, object_, side, rank, voxels, faces in zip(*columns, strict=True):
            if id_ not in parents:
                continue
            total = found.setdefault(id_, Site())
            own = total.faces[object_ == parents[id_][1] if same else side]
            own[:] = [m + n for m, n in zip(own, faces, strict=True)]
            total.gaps[rank] = total.gaps.get(rank, 0) + voxels
    return found


def with_sites(
    table: pa.Table, parents: Parents, sites: Mapping[int, Site], lengths_nm: Sequence[float],
    voxel_size_nm: Sequence[float],
) -> pa.Table:  # fmt: skip
    """Return a table of contacts with the columns of `MEANING`.

    ``lengths_nm`` are the distances of the ranks, as `kernels.near.lengths_nm` returns them. Areas
    are exact rationals rounded once; a contact without boundary voxels has no gap.
    """
    ids = table["id"].to_pylist()
    of = [sites.get(i) or Site() for i in ids]
    gaps = [sorted(site.gaps.items()) for site in of]
    columns: dict[str, Any] = {
        "id_a": pa.array([parents[i][0] for i in ids], pa.uint64()),
        "id_b": pa.array([parents[i][1] for i in ids], pa.uint64()),
        "area_a_nm2": _floats(area_nm2(site.faces[0], voxel_size_nm) for site in of),
        "area_b_nm2": _floats(area_nm2(site.faces[1], voxel_size_nm) for site in of),
        "gap_min_nm": _floats(lengths_nm[each[0][0]] if each else None for each in gaps),
        "gap_mean_nm": _floats(_mean(each, lengths_nm) for each in gaps),
    }
    for name, column in columns.items():
        table = table.append_column(
            pa.field(name, column.type, metadata={"meaning": MEANING[name]}), column
        )
    return table


def pair_table(table: pa.Table) -> pa.Table:
    """Return the contact matrix: a row for each two objects in contact, by their ids."""
    sums = [(name, "sum") for name in ("volume_nm3", "area_a_nm2", "area_b_nm2")]
    # Threads would add floats up in any order.
    found = table.group_by(["id_a", "id_b"], use_threads=False).aggregate([("id", "count"), *sums])
    found = found.sort_by([("id_a", "ascending"), ("id_b", "ascending")])
    return found.select(
        ["id_a", "id_b", "id_count", *(f"{name}_sum" for name, _ in sums)]
    ).rename_columns(["id_a", "id_b", "contacts", *(name for name, _ in sums)])


def gap_table(sites: Iterable[Site], lengths_nm: Sequence[float]) -> pa.Table:
    """Return how many boundary voxels of all contacts have each distance to the other side."""
    total: dict[int, int] = {}
    for site in sites:
        for rank, voxels in site.gaps.items():
            total[rank] = total.get(rank, 0) + voxels
    ranks = sorted(total)
    return pa.table(
        {
            "gap_nm": pa.array([lengths_nm[rank] for rank in ranks], pa.float64()),
            "voxels": pa.array([total[rank] for rank in ranks], pa.int64()),
        }
    )


def _floats(values: Iterable[float | None]) -> pa.Array:
    return pa.array(list(values), pa.float64())


def area_nm2(faces: Sequence[int], voxel_size_nm: Sequence[float]) -> float:
    """Return the area of faces across (z, y, x): an exact rational, rounded once."""
    edges = [Fraction(str(edge)) for edge in voxel_size_nm]
    voxel = math.prod(edges)
    return float(sum(n * voxel / edge for n, edge in zip(faces, edges, strict=True)))


def _mean(gaps: Sequence[tuple[int, int]], lengths_nm: Sequence[float]) -> float | None:
    if not gaps:
        return None
    # A rounded sum of exact parts depends on no order.
    return math.fsum(n * lengths_nm[rank] for rank, n in gaps) / sum(n for _, n in gaps)
