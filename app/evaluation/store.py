"""The evaluation store: one Parquet file, a row for each metric of each comparison.

The columns are those of the published evaluation database (Heinrich et al. 2021). A comparison
that is repeated replaces its rows, so a store never holds two answers to one question.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fibstream.core.errors import WrongUse
from fibstream.kernels.metrics import METRICS, Limits

from ..parquet import read_parquet

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("dataset", pa.string()),
        ("setup", pa.string()),
        ("iteration", pa.int64()),
        ("label", pa.string()),
        ("crop", pa.string()),
        ("threshold", pa.float64()),
        ("metric", pa.string()),
        ("metric_params", pa.string()),
        ("value", pa.float64()),
        ("raw_dataset", pa.string()),
        ("parent_path", pa.string()),
        ("parent_dataset_id", pa.string()),
        ("refined", pa.bool_()),
    ]
)
DILATED = "dilate_nm"  # of metric_params: what the truth was dilated by
TRUTHS = b"fibstream.truths"  # in the file's metadata: what the truth of a crop and label is
KEY = [name for name in SCHEMA.names if name != "value"]
MAX_BYTES = 1 << 30  # of a store: some hundred million rows are no evaluation


@dataclass(frozen=True)
class Facts:
    """What was compared: of a network, the setup and the iteration; of which label, on which crop.

    ``refined``: a segmentation, not a prediction with a threshold. ``parent_*`` tell of what it was
    refined.
    """

    path: str
    label: str
    crop: str
    dataset: str | None = None
    setup: str | None = None
    iteration: int | None = None
    threshold: float | None = None
    raw_dataset: str | None = None
    parent_path: str | None = None
    parent_dataset_id: str | None = None
    refined: bool = False


def rows_of(
    facts: Facts, values: Mapping[str, float | None], limits: Limits, dilate_nm: float = 0.0
) -> list[dict[str, Any]]:
    """Return a row for each metric; a metric without a value has the value null.

    ``dilate_nm`` is by how much the truth was dilated: of all metrics a parameter, unless it is 0.
    """
    return [
        {
            **asdict(facts),
            "metric": name,
            "metric_params": _params(name, limits, dilate_nm),
            "value": value,
        }
        for name, value in values.items()
    ]


def _params(name: str, limits: Limits, dilate_nm: float) -> str:
    parameter = METRICS[name].parameter
    params = {parameter: getattr(limits, parameter)} if parameter else {}
    return json.dumps(params | ({DILATED: dilate_nm} if dilate_nm else {}))


def read(path: Path) -> pa.Table:
    """Return the rows of a store; WrongUse where it is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WrongUse(f"{path}: over {MAX_BYTES >> 30} GB; expected an evaluation store")
        table = read_parquet(path)
    except FileNotFoundError:
        raise WrongUse(f"{path}: no such file; `evaluate --store` writes one") from None
    except (pa.ArrowException, OSError) as error:
        raise WrongUse(f"{path}: not a Parquet file; expected an evaluation store") from error
    if table.schema.remove_metadata() != SCHEMA:
        raise WrongUse(f"{path}: other columns; expected those of an evaluation store")
    return table


def append(path: Path, rows: Sequence[Mapping[str, Any]], truth: str | None = None) -> None:
    """Add rows to a store, in place of those with the same key; a new store where there is none.

    Several processes may add to one store: each waits for the others. ``truth`` says what the rows
    were compared with, mask and class included; WrongUse where the store has another one under the
    name of their crop.
    """
    with _alone(path):
        table = read(path) if path.exists() else SCHEMA.empty_table()
        truths = _truths(table)
        if truth is not None:
            for crop, label in {(row["crop"], row["label"]) for row in rows}:
                check_truth(table, crop, label, truth)
                truths[_place(crop, label)] = truth
        kept = {tuple(row[name] for name in KEY): row for row in (*table.to_pylist(), *rows)}
        schema = SCHEMA.with_metadata({TRUTHS: json.dumps(truths)})
        table = pa.Table.from_pylist(list(kept.values()), schema)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            pq.write_table(table, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def check_truth(table: pa.Table, crop: str, label: str, truth: str) -> None:
    """Raise WrongUse where a store has a label of a crop compared with another truth."""
    before = _truths(table).get(_place(crop, label), truth)
    if before != truth:
        raise WrongUse(
            f"--crop {crop}: the store has {label} of it compared with {before}; expected another "
            f"name for {truth}"
        )


def _truths(table: pa.Table) -> dict[str, str]:
    """Return what the truth of each crop and label is; nothing is known where a store says none."""
    try:
        found = json.loads((table.schema.metadata or {}).get(TRUTHS, b"{}"))
    except ValueError as error:
        raise WrongUse("store: its metadata are no JSON; expected an evaluation store") from error
    return found if isinstance(found, dict) else {}


def _place(crop: str, label: str) -> str:
    return json.dumps([crop, label])


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a store, which lies beside it."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
