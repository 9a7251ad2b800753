"""`fibstream report`: one page of a dataset with picture, tables, histogram and provenance."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pyarrow.parquet as pq

from fibstream.core.dataset import Dataset
from fibstream.store.store import Store

from .catalogue import segmentations
from .colours import css
from .folder import open_dataset
from .picture import paint

ROWS = 100  # of a table on the page: the largest objects; the file has all
BINS = 24  # of the histogram
BLACK = 0.02  # of the contrast: the inside of a mitochondrion is ten times as bright
COLUMNS: Mapping[str, str] = {
    "voxels": "voxels",
    "volume_nm3": "volume / µm³",
    "area_nm2": "surface / µm²",
    "centroid_z_nm": "z / nm",
    "centroid_y_nm": "y / nm",
    "centroid_x_nm": "x / nm",
    "touches_border": "cut by the border",
}
UNITS = {"volume_nm3": 1e9, "area_nm2": 1e6}  # of a column on the page, in that of the table

Row = dict[str, Any]


class Written(NamedTuple):
    """The files of a report."""

    page: Path
    pictures: list[Path]


def write_report(
    out: Path, folder: Path, *, hashes: tuple[str, str] | None = None, credit: str = ""
) -> Written:
    """Write ``report.html`` and one PNG per organelle into a folder; the page needs nothing else.

    A growing dataset is reported as it is now. Raises WrongUse when ``out`` is no
    dataset.
    """
    files, dataset = open_dataset(out)
    store = Store(files, dataset.grid)
    folder.mkdir(parents=True, exist_ok=True)
    sections, pictures = [], []
    for found in segmentations(dataset, files):
        rows = rows_of(out / found.table)
        if rows and not COLUMNS.keys() <= rows[0].keys():
            continue  # the table of another service: it measures something else
        image = paint(out, dataset, found, point(rows, dataset))
        pictures.append(folder / f"{found.name.replace('/', '-')}.png")
        image.save(pictures[-1])
        chunks = len(list(store.chunks(found.group)))
        sections.append(_section(found.name, rows, dataset, _data_url(image), chunks))
    page = folder / "report.html"
    text = PAGE.render(
        name=dataset.name, summary=summary(dataset), sections=sections, columns=COLUMNS,
        facts=provenance(dataset, hashes, credit),
    )  # fmt: skip
    page.write_text(text, encoding="utf-8")
    return Written(page, pictures)


def _section(
    name: str, rows: Sequence[Row], dataset: Dataset, picture: str, chunks: int
) -> dict[str, Any]:
    """Return what the page shows of one organelle; volumes in cubic micrometres."""
    whole = [row for row in rows if not row["touches_border"]]
    black = [row for row in rows if is_black(row, dataset)]
    volumes = _volumes(rows)
    return {
        "name": name, "picture": picture, "chunks": chunks, "objects": len(rows),
        "volumes": volumes, "whole": _volumes(whole), "black": _volumes(black),
        "histogram": histogram(volumes), "rows": rows[:ROWS],
    }  # fmt: skip


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a table, the largest object first; none before it is made."""
    rows: list[Row] = pq.read_table(path).to_pylist() if path.is_file() else []
    return sorted(rows, key=lambda row: (-row["voxels"], row["id"]))


def point(rows: Sequence[Row], dataset: Dataset) -> tuple[float, float, float]:
    """Return where the picture is cut, in nm: through the largest object, else the middle.

    An object that is black throughout was hardly imaged: another is shown where there is one.
    """
    candidates = [row for row in rows if not is_black(row, dataset)] or rows
    if candidates:
        z, y, x = (float(candidates[0][f"centroid_{axis}_nm"]) for axis in "zyx")
        return z, y, x
    shape = [edge or 0 for edge in dataset.shape]
    z, y, x = (n * s / 2 for n, s in zip(shape, dataset.voxel_size_nm, strict=True))
    return z, y, x


def is_black(row: Row, dataset: Dataset) -> bool:
    """Whether an object's mean grey value is the end of the contrast that networks see as black."""
    mean = row.get("raw_mean")
    if mean is None:
        return False
    low, high = dataset.contrast
    dark = (high - mean if dataset.invert else mean - low) / (high - low)
    return bool(dark < BLACK)


def summary(dataset: Dataset) -> str:
    """Return what a dataset is, in one line."""
    shape = " x ".join("open" if n is None else str(n) for n in dataset.shape)
    size = " x ".join(f"{s:g}" for s in dataset.voxel_size_nm)
    chunk = " x ".join(map(str, dataset.chunk))
    return f"{shape} voxels (z, y, x) of {size} nm, {dataset.dtype}, in chunks of {chunk}"


def provenance(
    dataset: Dataset, hashes: tuple[str, str] | None, credit: str
) -> list[tuple[str, str]]:
    """Return all that the results follow from, as names and values."""
    facts = [("fibstream", version("fibstream"))]
    if credit:
        facts.append(("source", credit))
    contrast = "{:g} to {:g}".format(*dataset.contrast)
    facts.append(("contrast", contrast + (", inverted" if dataset.invert else "")))
    for model in dataset.models:
        facts.append((f"network {model.name}", f"sha256 {model.sha256}"))
        facts.append(("engine profile", _listed(model.profile)))
    for stored in (p for p in dataset.predictions if not p.model):
        made = f"landed beside raw, squash length {stored.squash_nm:g} nm"
        facts.append((f"prediction {stored.name}", made))
    for o in dataset.organelles:
        made = f"recipe {o.recipe} from {', '.join(o.inputs.values())}; {_listed(o.settings)}"
        facts.append((f"organelle {o.name}", made))
    for word, entries in dataset.steps.items():
        facts += [(word, _listed(entry)) for entry in entries]
    if hashes is not None:
        facts += [("labels hash", hashes[0]), ("tables hash", hashes[1])]
    return facts


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _volumes(rows: Sequence[Row]) -> list[float]:
    """Return volumes in cubic micrometres."""
    return [row["volume_nm3"] / UNITS["volume_nm3"] for row in rows]


class Histogram(NamedTuple):
    """Counts in bins of equal width on a logarithmic axis, from one power of ten to another."""

    counts: list[int]
    low: int
    high: int


def histogram(volumes: Sequence[float]) -> Histogram | None:
    """Return a histogram of volumes in cubic micrometres; None of fewer than two."""
    if len(volumes) < 2:
        return None
    logs = np.log10(np.asarray(volumes))
    low = math.floor(logs.min())
    high = max(math.ceil(logs.max() + 1e-9), low + 1)
    return Histogram(np.histogram(logs, BINS, (low, high))[0].tolist(), low, high)


def _cell(value: Any, column: str) -> str:
    """Return a value of a table as text."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if column in UNITS:
        return f"{value / UNITS[column]:.4g}"
    return f"{value:.0f}"


def _data_url(image: Any) -> str:
    """Return a URL that holds an image."""
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(cell=_cell, css=css, median=median)
    return environment.get_template("report.html")


PAGE = _template()
