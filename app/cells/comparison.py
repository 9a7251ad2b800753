"""Datasets against datasets: distributions of what objects measure, effects, and what else differs.

Objects of one cell are no independent samples of cells. So what is said of objects is of the two
volumes alone, and what is said of groups of datasets takes one value of each dataset.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fibstream.kernels.effects import cliffs_delta, hodges_lehmann
from fibstream.services.analysis.measures import Column

from .specimen import UNKNOWN, Specimen
from .totals import Row

Groups = Mapping[str, Sequence[str]]  # names of datasets

OF_OBJECTS = ("volume_nm3", "crofton_area_nm2", "sphericity")
OF_DATASETS = (
    "objects", "volume_nm3", "crofton_area_nm2", "mean_volume_nm3", "mean_crofton_area_nm2",
    "relative_volume", "objects_per_um3",
)  # fmt: skip
QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95,
             "max": 1.0}  # fmt: skip
ASSUMES = {
    "objects": "independent objects, which those of one cell are not: of these two volumes alone",
    "datasets": "independent datasets",
}
_Q = "quantile {:g} of whole objects, by linear interpolation"
DISTRIBUTION: Mapping[str, Column] = {
    "dataset": Column("string", "name of the dataset"),
    "organelle": Column("string", "name of the organelle"),
    "measure": Column("string", "column of the table of objects, whose unit it has"),
    "whole_objects": Column("int64", "objects that the border of the volume does not cut"),
    "mean": Column("double", "their mean"),
    "sd": Column("double", "their standard deviation, n - 1; nothing of fewer than two"),
    **{name: Column("double", _Q.format(q)) for name, q in QUANTILES.items()},
}
EFFECTS: Mapping[str, Column] = {
    "organelle": Column("string", "name of the organelle"),
    "measure": Column("string", "column of the table of objects, or of `organelles`"),
    "level": Column(
        "string", "objects: whole objects of two datasets; datasets: one value of each"
    ),
    "a": Column("string", "dataset or group that is compared with, the first"),
    "b": Column("string", "dataset or group that is compared"),
    "n_a": Column("int64", "objects, or datasets, of a"),
    "n_b": Column("int64", "objects, or datasets, of b"),
    "median_a": Column("double", "median of a, or its one value"),
    "median_b": Column("double", "median of b, or its one value"),
    "cliffs_delta": Column(
        "double", "how often b is larger than a, less how often smaller; nothing of one and one"
    ),
    "shift": Column("double", "Hodges-Lehmann: median of all differences b - a"),
    "shift_low": Column(
        "double", "lower limit of its interval (Moses); nothing where n is too small"
    ),
    "shift_high": Column("double", "upper limit"),
    "interval": Column("double", "confidence of the interval, at least 0.95, under `assumes`"),
    "assumes": Column("string", "what delta and interval take for independent"),
    "differs": Column(
        "string", "what else is not the same: voxel size, recipe, prediction, reference"
    ),
}
DISTRIBUTION_SCHEMA, EFFECTS_SCHEMA = (
    pa.schema([(name, column.type) for name, column in columns.items()])
    for columns in (DISTRIBUTION, EFFECTS)
)


def distributions(specimens: Sequence[Specimen]) -> list[Row]:
    """Return a row for each measure of the whole objects of each organelle of each dataset."""
    return [
        {"dataset": s.name, "organelle": name, "measure": measure} | _spread(whole(table, measure))
        for s in specimens
        for name, table in s.tables.items()
        for measure in OF_OBJECTS
    ]


def whole(table: pa.Table, measure: str) -> NDArray[np.float64]:
    """Return a measure of the objects that the border does not cut, ``(n,)``."""
    inside = ~table["touches_border"].to_numpy()
    values: NDArray[np.float64] = table[measure].to_numpy()[inside].astype(np.float64)
    return values


def _spread(values: NDArray[np.float64]) -> Row:
    if not values.size:
        return {"whole_objects": 0, "mean": None, "sd": None, **dict.fromkeys(QUANTILES)}
    found = np.quantile(values, list(QUANTILES.values())).tolist()
    return {
        "whole_objects": values.size,
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if values.size > 1 else None,
        **dict(zip(QUANTILES, found, strict=True)),
    }


def effects(specimens: Sequence[Specimen], rows: Sequence[Row], groups: Groups) -> list[Row]:
    """Return how each dataset, or each group of datasets, differs from the first.

    Parameters
    ----------
    specimens
        The datasets.
    rows
        `totals.totals` of all of them.
    groups
        Datasets by the name of their group; without groups datasets are compared one by one.
    """
    known = {s.name: s for s in specimens}
    sides: Groups = groups or {name: [name] for name in known}
    (first, one), *others = sides.items()
    organelles = dict.fromkeys(name for s in specimens for name in s.tables)
    found = []
    for (name, two), organelle in ((o, n) for o in others for n in organelles):
        both = [known[each] for each in (*one, *two) if organelle in known[each].tables]
        head = {"organelle": organelle, "a": first, "b": name,
                "differs": ", ".join(_differing(both, organelle))}  # fmt: skip
        if not groups and len(both) == 2:
            found += [head | row for row in _of_objects(both[0], both[1], organelle)]
        found += [head | row for row in _of_datasets(one, two, organelle, known, rows)]
    return found


def _of_objects(a: Specimen, b: Specimen, organelle: str) -> Iterator[Row]:
    for measure in OF_OBJECTS:
        sides = [whole(s.tables[organelle], measure) for s in (a, b)]
        yield {"measure": measure, "level": "objects"} | _effect(sides[0], sides[1], "objects")


def _of_datasets(
    one: Sequence[str], two: Sequence[str], organelle: str, known: Mapping[str, Specimen],
    rows: Sequence[Row],
) -> Iterator[Row]:  # fmt: skip
    """Yield what totals, and medians of objects, differ by: one value of each dataset."""
    mine = {row["dataset"]: row for row in rows if row["organelle"] == organelle}
    for measure in OF_DATASETS:
        values = [[mine[n][measure] for n in side if n in mine] for side in (one, two)]
        yield {"measure": measure, "level": "datasets"} | _of_values(values)
    for measure in OF_OBJECTS:
        values = [
            [_median(known[n].tables[organelle], measure) for n in side if n in mine]
            for side in (one, two)
        ]
        yield {"measure": f"median {measure}", "level": "datasets"} | _of_values(values)


def _median(table: pa.Table, measure: str) -> float | None:
    values = whole(table, measure)
    return median(values.tolist()) if values.size else None


def _of_values(values: Sequence[Sequence[float | None]]) -> Row:
    a, b = (np.array([v for v in side if v is not None], np.float64) for side in values)
    return _effect(a, b, "datasets")


def _effect(a: NDArray[np.float64], b: NDArray[np.float64], level: str) -> Row:
    """Return the columns of an effect; of nothing, or one value a side, only what there is."""
    row: Row = {
        "n_a": a.size, "n_b": b.size, "median_a": float(np.median(a)) if a.size else None,
        "median_b": float(np.median(b)) if b.size else None, "assumes": ASSUMES[level],
    }  # fmt: skip
    if not (a.size and b.size):
        return row
    shift = hodges_lehmann(a, b)
    row |= {"shift": shift.estimate, "shift_low": shift.low, "shift_high": shift.high,
            "interval": shift.level}  # fmt: skip
    if a.size + b.size > 2:
        row["cliffs_delta"] = cliffs_delta(a, b)
    return row


def notes(specimens: Sequence[Specimen]) -> list[str]:
    """Return a line for everything that makes datasets differ beside what was measured."""
    lines: dict[str, list[str]] = {}
    for organelle in dict.fromkeys(name for s in specimens for name in s.tables):
        lacking = [s.name for s in specimens if organelle not in s.tables]
        if lacking:
            lines.setdefault(f"is not in {', '.join(lacking)}", []).append(organelle)
        there = [s for s in specimens if organelle in s.tables]
        for fact in _differing(there, organelle):
            shown: dict[str, list[str]] = {}
            for s in there:
                shown.setdefault(_known(s, organelle)[fact], []).append(s.name)
            text = "; ".join(f"{value} ({', '.join(names)})" for value, names in shown.items())
            lines.setdefault(f"{fact}: {text}", []).append(organelle)
    return [f"{', '.join(organelles)}: {text}" for text, organelles in lines.items()]


def _known(specimen: Specimen, organelle: str) -> Mapping[str, str]:
    """Return what the figures of an organelle follow from, as names and values."""
    reference = "not known" if specimen.reference is None else specimen.reference.name
    return {**specimen.facts[organelle], "reference": reference}


def _differing(specimens: Sequence[Specimen], organelle: str) -> list[str]:
    """Return the names of facts that are not the same, or not recorded."""
    facts: list[Mapping[str, Any]] = [_known(s, organelle) for s in specimens]
    values = {name: {f[name] for f in facts} for name in (facts[0] if facts else ())}
    return [name for name, found in values.items() if len(found) > 1 or UNKNOWN in found]
