"""Pages and pictures of datasets: the numbers on them are those of the table and the voxels."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fibstream.app.colours import HUES, PALETTE, colours, css
from fibstream.app.picture import GAP, PANEL, TITLE, over, section
from fibstream.app.report import histogram, is_black, point, provenance, rows_of, write_report
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from ..support.scene import make_scene

IDS = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    scene = make_scene(tmp_path_factory.mktemp("scene"))
    out = scene.folder / "cell.zarr"
    assert inside(*scene.run(out, "--bus", "memory:")).code == 0
    return out


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    return write_report(finished, tmp_path_factory.mktemp("report"), hashes=("abc", "def"))


# -- colours ---------------------------------------------------------------------------------------


@given(IDS)
def test_a_colour_follows_from_the_id_alone(ids) -> None:
    alone = [colours(np.array([n], np.uint64))[0].tolist() for n in ids]
    assert colours(np.array(ids, np.uint64)).tolist() == alone
    assert css(ids[0]) == "#" + bytes(alone[0]).hex()


def deuteranope(rgb):
    """Return linear colours as eyes without green cones see them (Vienot et al. 1999)."""
    linear = (np.asarray(rgb) / 255) ** 2.2
    return (
        linear @ np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]).T
    )


def test_hues_stay_apart_for_eyes_without_green_cones() -> None:
    seen = deuteranope(HUES)
    far = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert far[~np.eye(len(HUES), dtype=bool)].min() > 0.05
    naive = deuteranope([(255, 0, 0), (0, 171, 0)])  # told apart by most eyes alone
    assert np.linalg.norm(naive[0] - naive[1]) < 0.05


def test_neighbouring_ids_have_many_colours() -> None:
    assert len(np.unique(colours(np.arange(1, 200, dtype=np.uint64)), axis=0)) == len(PALETTE)


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
    pixel = image[TITLE + y, GAP + 2 * (PANEL + GAP) + x].astype(int)
    grey = image[TITLE + y, GAP + x].astype(int)
    wanted = (grey + colours(np.array([rows[0]["id"]], np.uint64))[0]) // 2
    assert np.abs(pixel - wanted).max() <= 2


# -- pages -----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects cells and pictures, and fails on tags that do not close."""

    def __init__(self, text) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        elif tag == "td":
            self.cells.append("")
        if tag not in ("img", "meta", "line", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        if tag not in ("line", "rect"):
            assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def test_the_page_holds_table_picture_and_provenance(finished, written) -> None:
    text = written.page.read_text("utf-8")
    page = Page(text)
    assert page.open == []
    for name, picture in zip(("generic", "mito"), page.pictures, strict=True):
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
    facts = provenance(dataset.model_copy(update={"steps": steps}), None, "")
    assert ("contacts", "a generic, b mito, distance_nm 10.0") in facts


def test_a_table_of_another_service_is_no_section(finished, tmp_path) -> None:
    out = tmp_path / "cell.zarr"
    shutil.copytree(finished, out)
    table = pq.read_table(out / "tables/mito.parquet")
    pq.write_table(table.select(["id", "voxels"]), out / "tables/mito.parquet")
    assert [p.name for p in write_report(out, tmp_path / "report").pictures] == ["generic.png"]


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
    written = write_report(tmp_path / "new.zarr", tmp_path / "report")
    assert "No object is closed yet." in written.page.read_text("utf-8")
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
    text = write_report(out, tmp_path / "report").page.read_text("utf-8")
    assert "<b>1 of them, " in text and "black throughout: was nothing imaged there?" in text


def test_what_is_no_dataset_has_none(tmp_path) -> None:
    with pytest.raises(WrongUse, match="nothing"):
        write_report(tmp_path / "nothing", tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_the_page(finished, tmp_path) -> None:
    answer = inside("report", finished, "--out", tmp_path / "r")
    assert answer.code == 0
    assert answer.out.strip() == str(tmp_path / "r/report.html")
