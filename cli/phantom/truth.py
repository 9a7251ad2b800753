"""Truth tables of a phantom, written together with its chunks: ribosomes and contacts.

Ribosomes are written in batches; contacts stay in memory, one row for each pair of instances near
each other, fewer than the placed cell has primitives.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.core.grid import Box
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.contacts import ContactFold, Pair, contacts_of_pairs
from fibstream.phantom.ribosomes import CYTOSOLIC, NUCLEAR, SHEET, TUBE
from fibstream.services.analysis.table import ROWS_A_GROUP

RIBOSOMES, CONTACTS = "ribosomes.parquet", "contacts.parquet"
DISTANCES_NM = (10.0, 20.0)  # of the published analysis: organelles, and those with microtubules
# The pairs of the published analysis (Heinrich et al. 2021) that a phantom has, and mitochondria
# with each other.
PAIRS: tuple[Pair, ...] = (
    ("er", "golgi"), ("er", "mito"), ("er", "MVB"), ("er", "plasma_membrane"), ("er", "vesicle"),
    ("golgi", "vesicle"), ("golgi", "MVB"), ("mito", "plasma_membrane"), ("mito", "mito"),
    ("er", "microtubules"), ("MVB", "microtubules"), ("golgi", "microtubules"),
    ("mito", "microtubules"), ("nucleus", "microtubules"), ("vesicle", "microtubules"),
    ("plasma_membrane", "microtubules"),
)  # fmt: skip
CLASS_NAMES = {CYTOSOLIC: "free", NUCLEAR: "envelope", SHEET: "sheet", TUBE: "tubule"}
BATCH = 1 << 16  # ribosomes buffered for one row group, 3 MB
RIBOSOME_ROWS = pa.schema([
    ("id", pa.uint64()), ("z_nm", pa.float64()), ("y_nm", pa.float64()), ("x_nm", pa.float64()),
    ("class", pa.string()),
])  # fmt: skip
CONTACT_ROWS = pa.schema([
    ("a", pa.string()), ("b", pa.string()), ("distance_nm", pa.float64()), ("a_id", pa.uint64()),
    ("b_id", pa.uint64()), ("voxels", pa.int64()), ("gap_nm", pa.float64()),
])  # fmt: skip


def pairs_of(spec: PhantomSpec) -> tuple[Pair, ...]:
    """Return those of `PAIRS` of which both are placed."""
    placed = {*spec.organelles, "plasma_membrane"}
    return tuple(pair for pair in PAIRS if placed.issuperset(pair))


def ribosome_rows(phantom: Phantom, box: Box) -> pa.Table:
    """Return the ribosomes whose centre is in a box, by ascending id.

    A box holds what lies on its first faces, not on its last ones, so that of boxes that tile the
    volume exactly one holds a ribosome.
    """
    found = phantom.ribosomes(box)
    voxel = np.array(phantom.spec.voxel_size_nm)
    low, high = np.array(box.start) * voxel, np.array(box.stop) * voxel
    own = np.flatnonzero(((low <= found.centre) & (found.centre < high)).all(axis=1))
    own = own[np.argsort(found.number[own])]
    z, y, x = found.centre[own].T
    classes = [CLASS_NAMES[category] for category in found.category[own].tolist()]
    columns = [pa.array(found.number[own], pa.uint64()), z, y, x, pa.array(classes, pa.string())]
    return pa.table(columns, schema=RIBOSOME_ROWS)


class TruthTables:
    """The tables of one phantom while they are written; see `truth_tables`."""

    def __init__(
        self, phantom: Phantom, pairs: Sequence[Pair], distances_nm: Sequence[float],
        write: Callable[[pa.Table], None],
    ) -> None:  # fmt: skip
        self._phantom, self._pairs, self._distances_nm = phantom, pairs, distances_nm
        self._folds = {(pair, far): ContactFold() for pair in pairs for far in distances_nm}
        self._write = write
        self._waiting: list[pa.Table] = []

    def add(self, box: Box) -> None:
        """Add the ribosomes and contacts of one chunk; add each chunk once, in raster order."""
        self._waiting.append(ribosome_rows(self._phantom, box))
        if sum(rows.num_rows for rows in self._waiting) >= BATCH:
            self.flush()
        found = contacts_of_pairs(self._phantom, self._pairs, self._distances_nm, box)
        for pair, distance_nm, contacts in found:
            self._folds[pair, distance_nm].put(contacts)

    def flush(self) -> None:
        """Write the buffered ribosomes."""
        if rows := [rows for rows in self._waiting if rows.num_rows]:
            self._write(pa.concat_tables(rows).combine_chunks())
        self._waiting = []

    def contacts(self) -> Iterator[pa.Table]:
        """Yield the rows of each pair at each distance, by ascending ids."""
        for ((a, b), distance_nm), fold in self._folds.items():
            if total := fold.total():
                size = len(total)
                known = ([a] * size, [b] * size, [float(distance_nm)] * size)
                columns = [*known, *map(list, zip(*total, strict=True))]
                types = zip(columns, CONTACT_ROWS.types, strict=True)
                yield pa.table([pa.array(c, t) for c, t in types], schema=CONTACT_ROWS)


@contextlib.contextmanager
def truth_tables(
    folder: Path, phantom: Phantom, pairs: Sequence[Pair] | None = None,
    distances_nm: Sequence[float] = DISTANCES_NM,
) -> Iterator[TruthTables]:  # fmt: skip
    """Write ``ribosomes.parquet`` and ``contacts.parquet`` of a phantom into a folder.

    `TruthTables.add` every chunk within the ``with``.  The files get their names when it
    succeeds; otherwise neither remains.  ``pairs`` are by default all of `pairs_of`.
    """
    wanted = pairs_of(phantom.spec) if pairs is None else tuple(pairs)
    with (
        _new_table(folder / RIBOSOMES, RIBOSOME_ROWS) as ribosomes,
        _new_table(folder / CONTACTS, CONTACT_ROWS) as contacts,
    ):
        tables = TruthTables(phantom, wanted, distances_nm, ribosomes)
        yield tables
        tables.flush()
        for rows in tables.contacts():
            contacts(rows)


@contextlib.contextmanager
def _new_table(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Give a function that writes a row group; the file is renamed when the ``with`` succeeds."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        with pq.ParquetWriter(
            part, schema, version="2.6", compression="zstd", compression_level=3
        ) as writer:
            yield lambda rows: writer.write_table(rows, row_group_size=ROWS_A_GROUP)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
