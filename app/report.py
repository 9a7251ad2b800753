"""`fibstream report`: one page of a dataset with picture, tables, histogram and provenance."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jinja2

from fibstream.core.dataset import Dataset
from fibstream.core.subject import CHUNKS, count
from fibstream.services.analysis.sites import pair_table
from fibstream.services.analysis.stages.contact_words import contacts_of
from fibstream.store.local import LocalFiles
from fibstream.store.store import Store

from .catalogue import segmentations
from .cells.reported import Whole, whole
from .charts import as_png
from .choices import unnamed
from .colours import css
from .contact_figures import matrix
from .division.drawn import draw_division
from .facts import missing, provenance, source_of
from .folder import open_dataset
from .hashes import Track, untracked
from .hashes import hashes as hashes_of
from .histogram import histogram, ticks
from .kept import Kept
from .parquet import read_parquet
from .picture import Subject, details, paint
from .rows import (
    COLUMNS,
    Row,
    cell,
    colouring,
    columns,
    ids_of,
    is_black,
    point,
    rows_of,
    volumes_of,
)
from .solid import EDGE, of_dataset
from .truths import open_truths, scored

ROWS = 100  # of a table on the page: the largest objects; the file has all
WIDTH = 1200  # pixels of the page: a smaller plane is shown larger


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
            | _matrix(subject, rows, pictures[-1])
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


def _matrix(subject: Subject, rows: Sequence[Row], path: Path) -> dict[str, str]:
    """Write the picture of which objects are in contact, if contacts are shown; return it."""
    known = {contact.path: contact for contact in contacts_of(subject.dataset)}
    contact = known.get(subject.chosen.group)
    if contact is None or not rows:
        return {"matrix": ""}
    pairs = pair_table(read_parquet(subject.out / subject.chosen.table))
    drawn = as_png(matrix(pairs, (contact.a, contact.b)))
    path.with_name(f"{path.stem}-matrix.png").write_bytes(drawn)
    return {"matrix": _png_url(drawn)}


def _section(subject: Subject, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of one organelle; volumes in cubic micrometres."""
    whole = [row for row in rows if not row["touches_border"]]
    black = [row for row in rows if is_black(row, subject.dataset)]
    volumes = volumes_of(rows)
    return {
        "name": subject.chosen.name, "short": subject.chosen.name.rpartition("/")[2],
        "objects": len(rows), "volumes": volumes, "whole": volumes_of(whole),
        "black": volumes_of(black), "histogram": histogram(volumes), "rows": rows[:ROWS],
        "colours": [css(colour) for colour in subject.colours_of(ids_of(rows[:ROWS]))],
        "details": [
            {"title": d.title, "height": d.size[0] * d.aspect, "width": d.size[1],
             "zoom": min(max(WIDTH // d.size[1], 1), 8),
             "raw": _data_url(d.raw), "layers": {n: _data_url(i) for n, i in d.layers.items()}}
            for d in details(subject)
        ],
    }  # fmt: skip


def summary(dataset: Dataset) -> str:
    """Return what a dataset is, in one line."""
    shape = " x ".join("open" if n is None else str(n) for n in dataset.shape)
    size = " x ".join(f"{s:g}" for s in dataset.voxel_size_nm)
    chunk = " x ".join(map(str, dataset.chunk))
    place = ", ".join(f"{nm / 1000:.7g}" for nm in dataset.offset_nm)
    begins = f", from {place} µm on" if any(dataset.offset_nm) else ""
    return f"{shape} voxels (z, y, x) of {size} nm{begins}, {dataset.dtype}, in chunks of {chunk}"


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
    environment.filters.update(cell=cell, median=median)
    environment.globals.update(ticks=ticks)
    return environment.get_template("report.html")


PAGE = _template()
