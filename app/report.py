"""`fibstream report`: one page of a dataset with picture, tables, histogram and provenance."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from fibstream.core.dataset import Dataset, Organelle
from fibstream.store.store import Store

from .colours import css
from .folder import open_dataset
from .picture import paint

ROWS = 100  # of a table on the page: the largest objects; the file has all
BINS = 24  # of the histogram
BLACK = 0.02  # of the contrast: the inside of a mitochondrion is ten times as bright
PAGE = Template(Path(__file__).with_name("report.html").read_text("utf-8"))
COLUMNS: Mapping[str, str] = {
    "voxels": "voxels",
    "volume_nm3": "volume / µm³",
    "area_nm2": "surface / µm²",
    "centroid_z_nm": "z / nm",
    "centroid_y_nm": "y / nm",
    "centroid_x_nm": "x / nm",
    "touches_border": "cut by the border",
}
_UNITS = {"volume_nm3": 1e9, "area_nm2": 1e6}

Row = dict[str, Any]


class Written(NamedTuple):
    """The files of a report."""

    page: Path
    pictures: list[Path]


def write_report(
    out: Path, folder: Path, *, hashes: tuple[str, str] | None = None, credit: str = ""
) -> Written:
    """Write ``report.html`` and one PNG per organelle into a folder; the page needs nothing else.

    A dataset that still grows is shown as far as it has come. Raises WrongUse when ``out`` is no
    dataset.
    """
    files, dataset = open_dataset(out)
    folder.mkdir(parents=True, exist_ok=True)
    sections, pictures = [], []
    for number, organelle in enumerate(dataset.organelles):
        rows = rows_of(out, organelle)
        image = paint(out, dataset, number, point(rows, dataset))
        pictures.append(folder / f"{organelle.recipe}.png")
        image.save(pictures[-1])
        landed = len(list(Store(files, dataset.grid).chunks(f"labels/{organelle.recipe}")))
        black = [row for row in rows if is_black(row, dataset)]
        sections.append(_section(organelle, rows, black, _embedded(image), landed))
    facts = provenance(dataset, hashes, credit)
    page = folder / "report.html"
    text = PAGE.substitute(
        name=escape(dataset.name), sections="\n".join(sections), facts=_facts(facts),
        summary=escape(summary(dataset)),
    )  # fmt: skip
    page.write_text(text, encoding="utf-8")
    return Written(page, pictures)


def rows_of(out: Path, organelle: Organelle) -> list[Row]:
    """Return the rows of an organelle's table, the largest object first."""
    path = out / "tables" / f"{organelle.recipe}.parquet"
    rows: list[Row] = pq.read_table(path).to_pylist() if path.is_file() else []
    return sorted(rows, key=lambda row: (-row["voxels"], row["id"]))


def point(rows: Sequence[Row], dataset: Dataset) -> tuple[float, float, float]:
    """Return where the picture is cut, in nm: through the largest object, else the middle.

    What is black throughout was hardly imaged: another object is shown where there is one.
    """
    shown = [row for row in rows if not is_black(row, dataset)] or rows
    if shown:
        z, y, x = (float(shown[0][f"centroid_{axis}_nm"]) for axis in "zyx")
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
    facts += [(f"recipe {o.recipe}", _listed(o.settings)) for o in dataset.organelles]
    if hashes is not None:
        facts += [("labels hash", hashes[0]), ("tables hash", hashes[1])]
    return facts


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


# -- as HTML ---------------------------------------------------------------------------------------


def _section(
    organelle: Organelle, rows: Sequence[Row], black: Sequence[Row], picture: str, landed: int
) -> str:
    volumes = _volumes(rows)
    whole = _volumes([row for row in rows if not row["touches_border"]])
    told = f"{len(rows)} objects, {len(whole)} of them whole; {landed} chunks labelled."
    if whole:
        told += f" Median volume of the whole ones {float(np.median(whole)):.4g} µm³."
    if volumes:
        told += f" In all {sum(volumes):.4g} µm³."
    if black:
        told += (
            f" <b>{len(black)} of them, {sum(_volumes(black)):.4g} µm³, "
            f"{'is' if len(black) == 1 else 'are'} black throughout: was nothing imaged there?</b>"
        )
    more = f"<p>The {ROWS} largest are shown.</p>" if len(rows) > ROWS else ""
    return (
        f"<h2>{escape(organelle.recipe)}</h2><p>{told}</p>"
        f'<img alt="raw, prediction and labels along three axes" src="{picture}">'
        f"{histogram(volumes)}{_table(rows[:ROWS])}{more}"
    )


def _volumes(rows: Sequence[Row]) -> list[float]:
    """Return volumes in cubic micrometres."""
    return [row["volume_nm3"] / 1e9 for row in rows]


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return "<p>No object is closed yet.</p>"
    head = "".join(f"<th>{name}</th>" for name in ("", "id", *COLUMNS.values()))
    lines = [
        f'<tr><td><i style="background:{css(row["id"])}"></i></td><td>{row["id"]}</td>'
        + "".join(f"<td>{_cell(row[name], name)}</td>" for name in COLUMNS)
        + "</tr>"
        for row in rows
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _cell(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if name in _UNITS:
        return f"{value / _UNITS[name]:.4g}"
    return f"{value:.0f}"


def histogram(volumes: Sequence[float]) -> str:
    """Return a histogram of volumes in cubic micrometres on a logarithmic axis, as SVG."""
    if len(volumes) < 2:
        return ""
    logs = np.log10(np.asarray(volumes))
    low, high = math.floor(logs.min()), math.ceil(logs.max() + 1e-9)
    counts, _ = np.histogram(logs, BINS, (low, max(high, low + 1)))
    width, height, foot = 640, 150, 34
    step, tallest = width / BINS, max(int(counts.max()), 1)
    bars = [
        f'<rect x="{n * step + 1:.1f}" width="{step - 2:.1f}" y="{height * (1 - c / tallest):.1f}"'
        f' height="{height * c / tallest:.1f}"><title>{c} objects</title></rect>'
        for n, c in enumerate(counts.tolist()) if c
    ]  # fmt: skip
    decades = range(low, max(high, low + 1) + 1)
    marks = [
        f'<text x="{min(max((d - low) * width / (len(decades) - 1), 22), width - 22):.0f}"'
        f' y="{height + 16}">{10.0**d:g}</text>' for d in decades
    ]  # fmt: skip
    return (
        f'<svg viewBox="0 -16 {width} {height + foot + 16}" role="img">'
        f'<text x="22" y="-4">{tallest}</text>{"".join(bars)}'
        f'<line x1="0" x2="{width}" y1="{height}" y2="{height}"/>{"".join(marks)}'
        f'<text x="{width / 2:.0f}" y="{height + 32}">volume / µm³, objects per bin</text></svg>'
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in facts)


def _embedded(image: Any) -> str:
    """Return an image as an address that holds it."""
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
