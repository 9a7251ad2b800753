"""One dataset as it is compared: tables of objects, what they follow from, and a volume.

It is a finished dataset, or a folder of tables, of which less is known.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from fibstream.core.dataset import RECORD, Dataset, Organelle
from fibstream.core.echo import cut, listed
from fibstream.core.errors import WrongState, WrongUse
from fibstream.services.analysis.edges.tables import read_table, table_stages
from fibstream.store.local import LocalFiles
from fibstream.store.store import Store
from fibstream.volumes.lengths import size_text

from ..facts import missing
from ..folder import open_dataset
from ..hashes import Track, untracked
from ..kept import Kept
from ..parquet import read_parquet
from .reference import Reference, of_prediction, reference_of

NEEDED = ("volume_nm3", "area_nm2", "crofton_area_nm2", "sphericity", "touches_border")
UNKNOWN = "not recorded"
MAX_BYTES = 1 << 31  # of a table: ten million objects
MAX_TABLES = 1000  # of a folder

Facts = Mapping[str, Mapping[str, str]]  # of an organelle: voxel size, recipe, network ..


class Specimen(NamedTuple):
    """What is compared of one dataset."""

    name: str
    tables: Mapping[str, pa.Table]  # by organelle
    facts: Facts
    reference: Reference | None


def open_specimen(
    path: Path, name: str, *, within: str | None = None, track: Track = untracked
) -> Specimen:
    """Open a finished dataset, or a folder of tables.

    ``within`` names the organelle, or prediction from its surface on, that totals are part of.
    Raises WrongUse for what is neither, lacks results, or has no such organelle.
    """
    if (path / RECORD).is_file():
        return _of_dataset(path, name, within, track)
    if not path.is_dir():
        raise WrongUse(f"{path}: no such folder; expected a dataset, or a folder of tables")
    return _of_tables(path, name, within)


def _of_dataset(path: Path, name: str, within: str | None, track: Track) -> Specimen:
    files, dataset = open_dataset(path)
    if lacking := missing(dataset, files):
        raise WrongState(f"{path}: not finished: {lacking}; its figures would be too low")
    stages = table_stages(dataset, files)
    tables = {
        o.name: _checked(
            read_parquet(read_table(dataset, files, stages[o.name]).data),
            f"{path}: table {o.name}",
        )
        for o in dataset.organelles
    }
    reference = _within(tables, within) or _read_reference(path, files, dataset, within, track)
    return Specimen(name, tables, _facts(dataset), reference)


def _read_reference(
    path: Path, files: LocalFiles, dataset: Dataset, within: str | None, track: Track
) -> Reference:
    kept = Kept(Store(files, dataset.grid))
    if within is None:
        return reference_of(dataset, kept, track)
    names = [p.name for p in dataset.predictions]
    if within not in names:
        known = listed(dict.fromkeys([*(o.name for o in dataset.organelles), *names]))
        raise WrongUse(f"--within {cut(within)}: {path} has no such organelle or prediction; "
                       f"expected one of {known}")  # fmt: skip
    return of_prediction(dataset, within, kept, track)


def _within(tables: Mapping[str, pa.Table], within: str | None) -> Reference | None:
    """Return the volume of all objects of an organelle."""
    if within is None or within not in tables:
        return None
    volume = math.fsum(tables[within]["volume_nm3"].to_pylist())
    return Reference(f"organelle {within}", volume)


def _of_tables(path: Path, name: str, within: str | None) -> Specimen:
    found = sorted(path.glob("*.parquet"))[: MAX_TABLES + 1]
    if not 0 < len(found) <= MAX_TABLES:
        count = f"over {MAX_TABLES}" if found else "no"
        raise WrongUse(f"{path}: {count} tables *.parquet; expected a dataset, or tables of it")
    tables = {file.stem: _checked(_read(file), str(file)) for file in found}
    if within is not None and within not in tables:
        raise WrongUse(f"--within {cut(within)}: {path} has no such table; expected one of "
                       f"{listed(tables)}")  # fmt: skip
    facts = {each: {"voxel size": _voxel_size(table), "recipe": UNKNOWN, "prediction": UNKNOWN}
             for each, table in tables.items()}  # fmt: skip
    return Specimen(name, tables, facts, _within(tables, within))


def _read(file: Path) -> pa.Table:
    if file.stat().st_size > MAX_BYTES:
        raise WrongUse(f"{file}: over {MAX_BYTES >> 30} GB; expected a table of objects")
    try:
        return read_parquet(file)
    except pa.ArrowException as error:
        raise WrongUse(f"{file}: not a Parquet file; expected a table of objects") from error


def _checked(table: pa.Table, what: str) -> pa.Table:
    """Return a table of objects; raise WrongUse for one without the columns that are compared."""
    if lacking := [column for column in NEEDED if column not in table.column_names]:
        raise WrongUse(
            f"{what}: has no column {lacking[0]}; expected a table that this version of `run` or "
            "`measure` writes"
        )
    if nulls := [column for column in NEEDED if table[column].null_count]:
        raise WrongUse(f"{what}: column {nulls[0]} has empty cells; expected a value for each row")
    return table


def _voxel_size(table: pa.Table) -> str:
    """Return the voxel size that a table carries, as text."""
    try:
        z, y, x = json.loads((table.schema.metadata or {})[b"voxel_size_nm"])
        return f"{size_text((float(z), float(y), float(x)))} nm"
    except (KeyError, ValueError, TypeError):
        return UNKNOWN


def _facts(dataset: Dataset) -> Facts:
    size = f"{size_text(dataset.voxel_size_nm)} nm"
    return {
        o.name: {"voxel size": size, "recipe": _recipe(o), "prediction": _predicted(dataset, o)}
        for o in dataset.organelles
    }


def _recipe(organelle: Organelle) -> str:
    settings: Sequence[tuple[str, Any]] = sorted(organelle.settings.items())
    inputs = ", ".join(f"{role} {name}" for role, name in sorted(organelle.inputs.items()))
    words = " ".join(f"{key} {'none' if v is None else v}" for key, v in settings)
    return f"{organelle.recipe} of {inputs}: {words}"


def _predicted(dataset: Dataset, organelle: Organelle) -> str:
    """Return what made the predictions that an organelle is of: networks, or what landed."""
    known = {p.name: p for p in dataset.predictions}
    models = {model.name: model for model in dataset.models}
    found = []
    for name in sorted({name for name in organelle.inputs.values() if name in known}):
        prediction = known[name]
        if not prediction.model:
            found.append(f"{name} landed")
            continue
        model = models[prediction.model]
        profile = " ".join(f"{k} {v}" for k, v in sorted(model.profile.items()))
        found.append(f"{name} by {model.name} {model.sha256[:12]} {profile}")
    return ", ".join(found) or "none"
