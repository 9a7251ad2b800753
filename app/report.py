"""`fibstream report`: one page of a dataset with picture, tables, histogram and provenance."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.subject import CHUNKS, count
from fibstream.store.local import LocalFiles
from fibstream.store.store import Store

from .catalogue import segmentations
from .cells.reported import Whole, whole
from .choices import unnamed
from .colours import Colouring, css
from .division.drawn import draw_division
from .facts import missing, provenance, source_of
from .folder import open_dataset
from .hashes import Track, untracked
from .hashes import hashes as hashes_of
from .kept import Kept
from .picture import Subject, details, paint
from .solid import EDGE, of_dataset
from .truths import open_truths, scored

ROWS = 100  # of a table on the page: the largest objects; the file has all
WIDTH = 1200  # pixels of the page: a smaller plane is shown larger
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
    out: Path, folder: Path, *, hashes: tuple[str, str] | None = None, credit: str = "",
    source: str = "", truths: Mapping[str, str] | None = None, track: Track = untracked,
    edge: int = EDGE,
) -> Written:  # fmt: skip
    """Write ``report.html`` and PNGs of each organelle into a folder; the page needs nothing else.

    A growing dataset is reported as it is now, without hashes. ``truths`` are paths of labels by
    the name of the organelle that is compared with them. Raises WrongUse when ``out`` is no
    dataset, or a truth is of no organelle or lies on another grid. ``edge`` is of the pictures in
    three dimensions, in pixels.
    """
    files, dataset = open_dataset(out)
    every = segmentations(dataset, files)
    opened = open_truths(truths or {}, dataset, [found.name for found in every])
    store = Store(files, dataset.grid)
    folder.mkdir(parents=True, exist_ok=True)
    sections, pictures = [], []
    for found in every:
        rows = rows_of(out / found.table)
        if rows and not COLUMNS.keys() <= rows[0].keys():
            continue  # the table of another service: it measures something else
        truth = opened.get(found.name)
        subject = Subject(
            out, dataset, found, point(rows, dataset), colouring(rows, dataset),
            {row["id"]: rank for rank, row in enumerate(rows, 1)}, truth,
        )  # fmt: skip
        pictures.append(folder / f"{found.name.replace('/', '-')}.png")
        sections.append(
            _section(subject, rows)
            | _drawn(subject, pictures[-1], track, edge)
            | _division(subject, files, rows, pictures[-1], track)
            | {
                "chunks": len(list(store.chunks(found.group))),
                "of": count(CHUNKS, dataset.grid) if dataset.grid.sealed else None,
                "scores": scored(out / found.group, truth, track) if truth else {},
            }
        )
    page = folder / "report.html"
    lacking = "" if hashes else missing(dataset, files)
    known = hashes or lacking or hashes_of(out, dataset, track)
    names = [section["name"] for section in sections]
    totals = None if lacking else _whole(out, dataset, names, Kept(store), track)
    if totals and totals.figure:
        pictures.append(folder / "organelles.png")
        pictures[-1].write_bytes(totals.figure)
    text = PAGE.render(
        name=dataset.name, summary=summary(dataset), sections=sections, columns=columns(dataset),
        facts=provenance(dataset, known, source or source_of(out), credit),
        choices=[] if lacking else unnamed(dataset, files),
        totals=totals.rows if totals else {}, overview=_png_url(totals.figure) if totals else "",
    )  # fmt: skip
    page.write_text(text, encoding="utf-8")
    return Written(page, pictures)


def _whole(
    out: Path, dataset: Dataset, names: Sequence[str], kept: Kept, track: Track
) -> Whole | None:
    """Return totals of the organelles among segmentations, which may also be contacts."""
    organelles = [o.name for o in dataset.organelles if o.name in names]
    tables = {name: out / f"tables/{name}.parquet" for name in organelles}
    return whole(dataset, tables, kept, track) if tables else None


def _drawn(subject: Subject, path: Path, track: Track, edge: int) -> dict[str, str]:
    """Write the pictures of one organelle as PNGs; return what the page shows of them."""
    out, dataset, group = subject.out, subject.dataset, subject.chosen.group
    image = paint(subject)
    image.save(path)
    solid = of_dataset(out, dataset, group, subject.colours_of, track, edge=edge)
    if solid is not None:
        solid.save(path.with_name(f"{path.stem}-3d.png"))
    return {"picture": _data_url(image), "solid": _data_url(solid) if solid else ""}


def _division(
    subject: Subject, files: LocalFiles, rows: Sequence[Row], path: Path, track: Track
) -> dict[str, str]:
    """Write the picture of how components were divided, if any was; return what is shown of it."""
    drawn = draw_division(
        subject.out, subject.dataset, files, subject.chosen.name, rows, subject.colours_of,
        predicted=subject.predicted, truth=subject.truth, track=track,
    )  # fmt: skip
    if drawn is None:
        return {"division": ""}
    drawn.save(path.with_name(f"{path.stem}-division.png"))
    return {"division": _data_url(drawn)}


def _section(subject: Subject, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of one organelle; volumes in cubic micrometres."""
    whole = [row for row in rows if not row["touches_border"]]
    black = [row for row in rows if is_black(row, subject.dataset)]
    volumes = _volumes(rows)
    return {
        "name": subject.chosen.name, "short": subject.chosen.name.rpartition("/")[2],
        "objects": len(rows), "volumes": volumes, "whole": _volumes(whole),
        "black": _volumes(black), "histogram": histogram(volumes), "rows": rows[:ROWS],
        "colours": [css(colour) for colour in subject.colours_of(_ids(rows[:ROWS]))],
        "details": [
            {"title": d.title, "height": d.size[0] * d.aspect, "width": d.size[1],
             "zoom": min(max(WIDTH // d.size[1], 1), 8),
             "raw": _data_url(d.raw), "layers": {n: _data_url(i) for n, i in d.layers.items()}}
            for d in details(subject)
        ],
    }  # fmt: skip


def _ids(rows: Sequence[Row]) -> NDArray[np.uint64]:
    return np.array([row["id"] for row in rows], np.uint64)


def colouring(rows: Sequence[Row], dataset: Dataset) -> Colouring:
    """Return the colours of the objects of a table, the largest first."""
    ends = (np.array([[row[f"{end}_{axis}"] for axis in "zyx"] for row in rows], np.int64)
            for end in ("min", "max"))  # fmt: skip
    low, high = (corners.reshape(-1, 3) for corners in ends)
    return Colouring(_ids(rows), low, high, dataset.voxel_size_nm)


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
    place = ", ".join(f"{nm / 1000:.7g}" for nm in dataset.offset_nm)
    begins = f", from {place} µm on" if any(dataset.offset_nm) else ""
    return f"{shape} voxels (z, y, x) of {size} nm{begins}, {dataset.dtype}, in chunks of {chunk}"


def columns(dataset: Dataset) -> Mapping[str, str]:
    """Return the headings of a table; its positions are counted from the first voxel's centre."""
    if not any(dataset.offset_nm):
        return COLUMNS
    return {c: f"{h} from the first voxel" if c.startswith("centroid") else h
            for c, h in COLUMNS.items()}  # fmt: skip


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


def ticks(most: int) -> list[int]:
    """Return whole numbers from 0 to at least ``most``, at most six of them, in round steps."""
    step = next(s * 10**e for e in range(19) for s in (1, 2, 5) if 5 * s * 10**e >= most)
    return list(range(0, most + step, step))


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
    return _png_url(data.getvalue())


def _png_url(data: bytes) -> str:
    """Return a URL that holds a PNG; nothing of none."""
    return "data:image/png;base64," + base64.b64encode(data).decode() if data else ""


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(cell=_cell, median=median)
    environment.globals.update(ticks=ticks)
    return environment.get_template("report.html")


PAGE = _template()
