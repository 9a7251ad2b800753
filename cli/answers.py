"""Tables that services return: printed for people, or written to a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import typer

from fibstream.core.errors import WrongUse

from .outputs import write_file

EXACT = 1e15  # below it a float differs from the next whole number
MAX_ROWS = 50  # rows that are printed; a file has them all


def unfinished(tables: Sequence[Any]) -> str:
    """Return why rows may still change or be missing; empty where all tables are final."""
    names = [table.organelle for table in tables if not table.final]
    return f"not complete: {', '.join(names)} may still change" if names else ""


def print_table(table: pa.Table) -> None:
    """Print the first rows in columns."""
    rows = [[_text(v) for v in row.values()] for row in table.slice(0, MAX_ROWS).to_pylist()]
    widths = [max(map(len, column)) for column in zip(table.column_names, *rows, strict=True)]
    for row in [table.column_names, *rows]:
        typer.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    if table.num_rows > MAX_ROWS:
        typer.echo(f"... {table.num_rows - MAX_ROWS} more rows; --out FILE.csv takes them all")


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < EXACT else f"{value:.6g}"


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table whole, or not at all."""
    sink = pa.BufferOutputStream()
    if path.suffix == ".csv":
        pa_csv.write_csv(table, sink)
    elif path.suffix == ".parquet":
        pq.write_table(table, sink)
    else:
        raise WrongUse(f"--out {path}: expected FILE.csv or FILE.parquet")
    write_file(path, sink.getvalue().to_pybytes())
