"""Pages and pictures of datasets: the numbers on them are those of the table and the voxels."""

import base64
import io
import json
import re
import shutil
from functools import partial
from html.parser import HTMLParser
from statistics import median

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fibstream.app.colours import colours
from fibstream.app.drawing import GAP, PANEL, TITLE, over
from fibstream.app.facts import SOURCE, missing, provenance
from fibstream.app.hashes import hashes
from fibstream.app.histogram import histogram
from fibstream.app.planes import section
from fibstream.app.report import write_report
from fibstream.app.rows import colouring, is_black, point, rows_of
from fibstream.app.truths import open_truths
from fibstream.cli.flags import parse_truths
from fibstream.core.dataset import RECORD
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from ..support.scene import make_scene, save

made = partial(write_report, edge=60)  # pictures in three dimensions take seconds: small ones


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    scene = make_scene(tmp_path_factory.mktemp("scene"))
    out = scene.folder / "cell.zarr"
    assert inside(*scene.run(out, "--bus", "memory:")).code == 0
    return out


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    return made(finished, tmp_path_factory.mktemp("report"), hashes=("abc", "def"))


# -- pictures --------------------------------------------------------------------------------------


def test_a_veil_lies_over_objects_alone() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    labels = np.zeros((4, 4), np.uint64)
    labels[1:3, 1:3] = 7
    seen = over(grey, labels)
    assert (seen[labels == 0] == 100).all()
    full = colours(np.array([7], np.uint64))[0]
    assert (seen[1, 1] == full).all()  # its edge
    labels[:] = 7
    assert np.abs(over(grey, labels)[2, 2] - (100 + full.astype(float)) / 2).max() <= 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_section_is_the_plane_through_the_point(finished, axis) -> None:
    dataset = read_dataset(LocalFiles(finished))
    point = (12.5 * 8, 20.5 * 8, 30.5 * 8)
    found = section(finished / "raw", "raw", dataset, axis, point)
    source = open_volume(f"{finished}/raw/s0", kind="raw")
    whole = source.read(Box((0, 0, 0), source.shape))
    source.close()
    assert found is not None
    assert found.pixel_nm == (8, 8)
    assert (found.values == whole.take((12, 20, 30)[axis], axis)).all()


def test_what_is_not_there_yet_has_no_section(finished) -> None:
    dataset = read_dataset(LocalFiles(finished))
    assert section(finished / "labels/none", "labels", dataset, 0, (0, 0, 0)) is None


def test_the_picture_shows_the_largest_object_in_its_colour(finished, written) -> None:
    dataset = read_dataset(LocalFiles(finished))
    rows = rows_of(finished / "tables" / f"{dataset.organelles[0].name}.parquet")
    image = np.asarray(Image.open(written.pictures[0]))
    scale = PANEL / dataset.shape[2]
    y, x = (int(rows[0][f"centroid_{axis}_nm"] / 8 * scale) for axis in "yx")
    own = colouring(rows, dataset)(np.array([rows[0]["id"]], np.uint64))[0]
    below = TITLE + y + 14  # pixels: its number is above
    pixel, grey = (image[below, x + GAP + n * (PANEL + GAP)].astype(int) for n in (2, 0))
    assert np.abs(pixel - (grey + own) / 2).max() <= 2


# -- pages -----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects cells and pictures, and fails on tags that do not close."""

    def __init__(self, text) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        if tag == "img":
            self.pictures.append((dict(attrs)["alt"] or "", dict(attrs)["src"] or ""))
        elif tag == "td":
            self.cells.append("")
        if tag not in ("img", "meta", "line", "rect", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        if tag not in ("line", "rect", "input"):
            assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def test_the_page_says_what_part_of_the_volume_organelles_are(finished, written) -> None:
    page = Page(written.page.read_text("utf-8"))
    assert written.pictures[-1].name == "organelles.png"
    shown = [url for alt, url in page.pictures if alt.startswith("relative volumes")]
    assert base64.b64decode(shown[0].partition(",")[2]) == written.pictures[-1].read_bytes()
    dataset = read_dataset(LocalFiles(finished))
    voxels = np.prod([edge or 0 for edge in dataset.shape])
    for place, organelle in enumerate(dataset.organelles):  # the first table, 8 cells a row
        rows = rows_of(finished / f"tables/{organelle.name}.parquet")
        part = 100 * sum(row["voxels"] for row in rows) / voxels
        density = len(rows) / (voxels * np.prod(dataset.voxel_size_nm) / 1e9)
        at = 8 * place + 6
        assert page.cells[at : at + 2] == [f"{part:.3g}", f"{density:.3g}"]
    assert "of the imaged volume" in written.page.read_text("utf-8")


def test_the_page_holds_table_picture_and_provenance(finished, written) -> None:
    text = written.page.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    mosaics = [url for alt, url in page.pictures if alt.startswith("raw, prediction")]
    for name, picture in zip(("generic", "mito"), mosaics, strict=True):
        table = pq.read_table(finished / f"tables/{name}.parquet")
        assert set(map(str, table["id"].to_pylist())) <= set(page.cells)
        data = base64.b64decode(picture.removeprefix("data:image/png;base64,"))
        assert Image.open(io.BytesIO(data)).width == GAP + 3 * (PANEL + GAP)
    dataset = read_dataset(LocalFiles(finished))
    assert {dataset.models[0].sha256, "abc", "def"} <= set(re.findall(r"[0-9a-f]+", text))
    assert "http" not in re.sub(r"data:[^\"]*", "", text)  # it needs nothing else


def test_contacts_are_among_what_results_follow_from(finished) -> None:
    dataset = read_dataset(LocalFiles(finished))
    steps = {"contacts": ({"a": "generic", "b": "mito", "distance_nm": 10.0},)}
    facts = provenance(dataset.model_copy(update={"steps": steps}), ("a", "b"), "")
    assert ("contacts", "a generic, b mito, distance_nm 10.0") in facts


def test_a_table_of_another_service_is_no_section(finished, tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    shutil.copytree(finished, out)
    table = pq.read_table(out / "tables/mito.parquet")
    pq.write_table(table.select(["id", "voxels"]), out / "tables/mito.parquet")
    assert [p.name for p in made(out, tmp_path / "report").pictures] == ["generic.png"]


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=50))
def test_a_histogram_counts_every_object_once(volumes) -> None:
    found = histogram(volumes)
    assert found is not None
    assert sum(found.counts) == len(volumes)
    assert 10.0**found.low <= min(volumes) * (1 + 1e-9)
    assert max(volumes) < 10.0**found.high


def test_a_growing_dataset_has_a_page(finished, tmp_path) -> None:
    for part in ("provenance", "raw"):
        (tmp_path / "new.zarr" / part).parent.mkdir(exist_ok=True)
        (tmp_path / "new.zarr" / part).symlink_to(finished / part)
    written = made(tmp_path / "new.zarr", tmp_path / "report")
    assert "No object is closed yet." in written.page.read_text("utf-8")
    text = written.page.read_text("utf-8")
    assert "<dt>hashes</dt><dd>none: " in text and "outputs are not stored yet" in text
    labels = np.asarray(Image.open(written.pictures[0]))[TITLE + 40 : TITLE + 200, -200:-20]
    assert labels.std() > 0  # raw alone


@pytest.mark.parametrize("invert", [False, True])
def test_what_is_black_throughout_is_told_and_not_what_the_picture_shows(finished, invert) -> None:
    dataset = read_dataset(LocalFiles(finished)).model_copy(
        update={"contrast": (10.0, 210.0), "invert": invert}
    )
    end, middle = (209.0, 150.0) if invert else (11.0, 80.0)
    size = {"volume_nm3": 2e9, "touches_border": False}
    rows = [
        {"raw_mean": end, **size, **{f"centroid_{a}_nm": 1.0 for a in "zyx"}},
        {"raw_mean": middle, **size, **{f"centroid_{a}_nm": 9.0 for a in "zyx"}},
    ]
    assert [is_black(row, dataset) for row in rows] == [True, False]
    assert point(rows, dataset) == (9.0, 9.0, 9.0)
    assert point(rows[:1], dataset) == (1.0, 1.0, 1.0)
    assert not is_black({}, dataset)  # measured without raw


def test_the_page_tells_of_black_objects(finished, tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    shutil.copytree(finished, out)
    path = out / "tables/mito.parquet"
    table = pq.read_table(path)
    means = [0.5, *table["raw_mean"].to_pylist()[1:]]
    place = table.column_names.index("raw_mean")
    pq.write_table(table.set_column(place, "raw_mean", [means]), path)
    text = made(out, tmp_path / "report").page.read_text("utf-8")
    assert "<b>1 of them, " in text and "black throughout: was nothing imaged there?" in text


def test_the_page_of_a_run_names_source_hashes_numbers_and_axes(finished, tmp_path) -> None:
    """A run notes where raw came from; a report of it computes the hashes itself."""
    text = made(finished, tmp_path / "report").page.read_text("utf-8")
    source = json.loads((finished / SOURCE).read_text())["raw"]
    assert source.endswith("/volume.npz") and f"<dt>source</dt><dd>{source}</dd>" in text
    labels, tables = hashes(finished, read_dataset(LocalFiles(finished)))
    assert f"<dd>{labels}</dd>" in text and f"<dd>{tables}</dd>" in text
    rows = rows_of(finished / "tables/mito.parquet")
    whole = [row["volume_nm3"] / 1e9 for row in rows if not row["touches_border"]]
    assert f"{median(whole):.4g} µm³ (n = {len(whole)})" in text
    assert text.count("number of objects</text>") == 2  # of the axes of two histograms
    assert f"logarithmic (n = {len(rows)}, " in text
    cells = Page(text).cells
    for rank, row in enumerate(rows, 1):
        assert cells[cells.index(f"mito {rank}") + 1] == str(row["id"])


def test_several_organelles_are_compared_before_their_sections(finished, tmp_path) -> None:
    text = write_report(finished, tmp_path).page.read_text()
    rows = re.findall(r'<tr><td><a href="#(.+?)">\1</a></td><td>(\d+)</td>', text)
    names = [organelle.name for organelle in read_dataset(LocalFiles(finished)).organelles]
    tables = [rows_of(finished / "tables" / f"{name}.parquet") for name in names]
    assert rows == [(n, str(len(found))) for n, found in zip(names, tables, strict=True)]
    assert all(f'<h2 id="{name}">' in text for name, _ in rows)


def test_an_output_that_is_lost_leaves_a_page_without_hashes(finished, tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    shutil.copytree(finished, out)
    next((out / "labels/mito/s0").glob("c/*/*/*")).unlink()
    text = made(out, tmp_path / "report").page.read_text("utf-8")
    assert re.search(r"<dd>none: 1 of \d+ outputs are not stored yet</dd>", text)
    assert "labels hash" not in text


def test_outputs_of_earlier_settings_have_no_hashes(finished) -> None:
    """All is stored, but what follows from another threshold is not what the pipeline wants."""
    files = LocalFiles(finished)
    dataset = read_dataset(files)
    assert missing(dataset, files) == ""
    generic, mito = dataset.organelles
    other = mito.model_copy(update={"settings": {**mito.settings, "threshold_nm": 4.0}})
    changed = dataset.model_copy(update={"organelles": (generic, other)})
    assert re.fullmatch(r"\d+ of \d+ outputs are of earlier settings", missing(changed, files))
    opened = dataset.model_copy(update={"shape": (None, *dataset.shape[1:])})
    assert "the dataset is open" in missing(opened, files)


def test_areas_that_were_never_imaged_are_among_what_results_follow_from(finished) -> None:
    dataset = read_dataset(LocalFiles(finished))
    names = [dict(provenance(d, "none", "")) for d in (
        dataset, dataset.model_copy(update={"absent_value": 0.0}))]  # fmt: skip
    assert "never imaged" not in names[0]
    assert names[1]["never imaged"] == "voxels of value 0"


def test_one_organelle_needs_no_name_for_its_truth() -> None:
    assert parse_truths(["a=b.tif"], ["mito"]) == {"mito": "a=b.tif"}
    assert parse_truths(["er=e", "mito=m"], ["mito", "er"]) == {"mito": "m", "er": "e"}
    for texts in (["mito=m", "mito=n"], ["m"], ["=m"]):
        with pytest.raises(WrongUse, match="expected NAME=LABELS once"):
            parse_truths(texts, ["mito", "er"])


def test_a_truth_is_scored_and_shown(finished, tmp_path) -> None:
    own = f"{finished}/labels/mito"
    text = made(finished, tmp_path / "a", truths={"mito": own}).page.read_text("utf-8")
    assert "8 of 8 chunks labelled" in text and "count as empty" not in text
    assert "dice 1.0000, iou 1.0000, precision 1.0000, recall 1.0000, F1 of objects 1.0000." in text
    assert 'alt="labels and truth"' in text and text.count("Against the truth") == 1
    source = open_volume(own, kind="labels")
    mask = source.read(Box((0, 0, 0), source.shape)) > 0
    mask[:, ::2] = False
    np.savez(tmp_path / "half.npz", labels=mask.astype(np.uint8), voxel_size_nm_zyx=[8.0] * 3)
    truths = parse_truths([f"mito={tmp_path}/half.npz"], ["generic", "mito"])
    text = made(finished, tmp_path / "b", truths=truths).page.read_text("utf-8")
    assert "recall 1.0000." in text and "F1 of objects" not in text and "dice 1.0000" not in text


def test_scores_of_labels_that_are_not_all_stored_say_so(finished, tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    shutil.copytree(finished, out)
    next((out / "labels/mito/s0").glob("c/*/*/*")).unlink()
    truth = {"mito": f"{finished}/labels/mito"}
    text = made(out, tmp_path / "report", truths=truth).page.read_text("utf-8")
    assert "7 of 8 chunks labelled" in text
    assert "Against the truth, where chunks that have no labels yet count as empty: dice " in text
    shutil.rmtree(out / "labels/mito")
    text = made(out, tmp_path / "later", truths=truth).page.read_text("utf-8")
    assert "0 of 8 chunks labelled" in text and "Against the truth" not in text


def test_a_truth_of_an_open_dataset_is_refused(finished) -> None:
    dataset = read_dataset(LocalFiles(finished))
    opened = dataset.model_copy(update={"shape": (None, *dataset.shape[1:])})
    assert open_truths({}, opened, ["mito"]) == {}
    with pytest.raises(WrongUse, match="is open, its extent in z is not known yet"):
        open_truths({"mito": f"{finished}/labels/mito"}, opened, ["mito"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nothing.npz", "expected NAME=LABELS once for each, NAME one of generic, mito"),
        ("mito=", "expected NAME=LABELS"),
        ("mito=small.npz", "is (4, 5, 6); cell is "),
        ("mito=coarse.npz", "voxel size"),
        ("mito=absent.npz", "absent.npz"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(finished, tmp_path, monkeypatch, given, said) -> None:
    shape = read_dataset(LocalFiles(finished)).shape
    monkeypatch.chdir(tmp_path)
    np.savez("small.npz", labels=np.ones((4, 5, 6), np.uint8), voxel_size_nm_zyx=[8.0] * 3)
    np.savez("coarse.npz", labels=np.ones(shape, np.uint8), voxel_size_nm_zyx=[16.0] * 3)
    answer = inside("report", finished, "--out", tmp_path / "r", "--truth", given)
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_what_is_no_dataset_has_none(tmp_path) -> None:
    with pytest.raises(WrongUse, match="nothing"):
        made(tmp_path / "nothing", tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_the_page(finished, tmp_path) -> None:
    answer = inside("report", finished, "--out", tmp_path / "r")
    assert answer.code == 0
    assert answer.out.strip() == str(tmp_path / "r/report.html")


def test_a_name_is_text_and_no_part_of_the_page(finished, tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    shutil.copytree(finished, out)
    (out / SOURCE).write_text(json.dumps({"raw": "/data/<script>alert(1)</script>\"'.tif"}))
    text = made(out, tmp_path / "report").page.read_text("utf-8")
    assert "<script>alert" not in text
    assert "/data/&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;.tif" in text


def test_positions_of_a_volume_elsewhere_say_from_where_they_count(finished, tmp_path) -> None:
    out = tmp_path / "far.zarr"
    shutil.copytree(finished, out)
    record = json.loads((out / RECORD).read_text())
    (out / RECORD).write_text(json.dumps(record | {"offset_nm": [5000.0, 0.0, -30.0]}))
    text = made(out, tmp_path / "report").page.read_text("utf-8")
    assert " nm, from 5, 0, -0.03 µm on, uint8, " in text
    assert "<th>z / nm from the first voxel</th>" in text and "<th>z / nm</th>" not in text


def test_contacts_show_which_objects_meet(tmp_path) -> None:
    """Two rows of cubes that face each other: in the matrix as in the table of contacts."""
    sides = {name: np.zeros((16, 16, 40), np.uint8) for name in "ab"}
    for x in (2, 15, 28):
        sides["a"][2:7, 2:12, x : x + 8] = 1
        sides["b"][9:14, 2:12, x : x + 8] = 1
    pipeline = {
        "models": [],
        "predictions": [{"name": name, "from": f"{save(tmp_path / f'{name}.npz', array, 8.0)}#raw",
                         "as": "distance"} for name, array in sides.items()],
        "organelles": [{"name": name, "recipe": "generic", "from": name,
                        "set": {"smooth_nm": 0, "min_volume_nm3": 0}} for name in sides],
        "contacts": [{"a": "a", "b": "b", "distance_nm": 20.0, "name": "facing"}],
    }  # fmt: skip
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(pipeline))
    raw = f"{save(tmp_path / 'raw.npz', sides['a'], 8.0)}#raw"
    out = tmp_path / "cell.zarr"
    answer = inside("run", "--raw", raw, "--pipeline", tmp_path / "p.yaml", "--out", out,
                    "--bus", "memory:")  # fmt: skip
    assert answer.code == 0, answer.err
    assert pq.read_table(out / "tables/contacts/facing.parquet").num_rows == 3
    text = made(out, tmp_path / "report").page.read_text("utf-8")
    drawn = (tmp_path / "report/contacts-facing-matrix.png").read_bytes()
    assert text.count("Which objects are in contact") == 1
    assert base64.b64encode(drawn).decode() in text
