"""`fibstream register --landmarks`: corrections are followed, and the images judge them."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from fibstream.services.registration.corrected import corrected
from fibstream.services.registration.edges.files import read_transform
from fibstream.services.registration.exchange import Landmarks, bigwarp_rows, bigwarp_text
from fibstream.services.registration.port import Image
from fibstream.services.registration.settings import MICROSCOPES, Settings
from fibstream.services.registration.transform import Transform

from ..support.command import Answer, inside
from ..support.wrong import tree
from .made import EM_NM, LIGHT_NM, made
from .test_images import ngff

PAIR = made()
SIM = MICROSCOPES["sim"]


def true_rows(count: int = 60, wrong_nm: float = 0.0) -> Landmarks:
    """Return places of the specimen and where the truth, or a careless person, has them."""
    at = np.random.default_rng(2).uniform(300, [2700, 8700, 8700], (count, 3))
    to = PAIR.truth.to_light(at) + np.array([0.0, wrong_nm, 0.0])
    return Landmarks(tuple(f"Pt-{n}" for n in range(count)), to, at)


def error_nm(transform: Transform, truth: Transform = PAIR.truth) -> float:
    """Return the median distance between what two transforms say of the structure."""
    miss = transform.to_light(PAIR.points) - truth.to_light(PAIR.points)
    return float(np.nanmedian(np.sqrt((miss * miss).sum(axis=1))))


class Place(NamedTuple):
    """Files of a pair, and a folder with a registration by true landmarks."""

    em: str
    light: str
    out: Path

    def call(self, table: Path, *more: object, light: str | None = None) -> Answer:
        return inside("register", "--light", light or self.light, "--em", self.em, "--out",
                      self.out, "--name", "sim", "--landmarks", table, *more)  # fmt: skip

    def report(self) -> dict:
        return json.loads((self.out / "registration/sim/report.json").read_text())

    def transform(self) -> Transform:
        return read_transform(self.out / "registration/sim/transform.h5")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("corrected")
    half = [v / 2 for v in EM_NM], [v / 2 for v in LIGHT_NM]
    em = ngff(folder / "em.zarr", PAIR.em.voxels, size=EM_NM, place=half[0])
    light = ngff(folder / "sim.zarr", PAIR.light.voxels, size=LIGHT_NM, place=half[1])
    place = Place(em, light, folder / "clem.zarr")
    rows = true_rows()
    (folder / "people.csv").write_text(bigwarp_text(rows.moving, rows.target))
    answer = place.call(folder / "people.csv")
    assert answer.code == 0, answer.err
    return place


@pytest.fixture
def place(begun: Place, tmp_path: Path) -> Place:
    shutil.copytree(begun.out, tmp_path / "clem.zarr")
    return begun._replace(out=tmp_path / "clem.zarr")


def table(path: Path, rows: Landmarks) -> Path:
    path.write_text(bigwarp_text(rows.moving, rows.target))
    return path


def test_true_landmarks_alone_are_a_registration_that_the_images_confirm(begun: Place) -> None:
    report = begun.report()
    assert report["judgement"]["status"] == "registered", report["judgement"]
    assert report["landmarks"] == {"path": str(begun.out.parent / "people.csv"), "rows": 60,
                                   "moved": None}  # fmt: skip
    assert error_nm(begun.transform()) < 1
    # What the patches say of the truth: their noise, which is no error of the landmarks.
    assert 1 < report["judgement"]["error_nm"] < 120
    page = (begun.out / "registration/sim/index.html").read_text()
    assert "error of patches" in page and "by cross-validation" not in page
    assert (begun.out / "lm/sim/zarr.json").is_file()


def test_wrong_landmarks_are_found_out_by_the_images() -> None:
    found = corrected(PAIR.em, PAIR.light, true_rows(wrong_nm=3000.0), SIM)
    assert found.judgement.status == "unregistered"
    near = corrected(PAIR.em, PAIR.light, true_rows(wrong_nm=350.0), SIM)
    assert near.judgement.status != "registered"
    assert near.judgement.error_nm == pytest.approx(350, abs=60)


def test_a_table_that_nobody_touched_changes_no_bit(place: Place, tmp_path: Path) -> None:
    before = place.transform()
    rows = bigwarp_rows((place.out / "registration/sim/landmarks.csv").read_text())
    assert place.call(table(tmp_path / "same.csv", rows)).code == 0
    assert place.report()["landmarks"]["moved"] == 0
    after = place.transform()
    points = PAIR.points
    assert np.array_equal(before.to_light(points), after.to_light(points), equal_nan=True)


def test_moved_rows_pull_and_the_others_hold(place: Place, tmp_path: Path) -> None:
    rows = bigwarp_rows((place.out / "registration/sim/landmarks.csv").read_text())
    corner = (rows.target[:, 1] < 2500) & (rows.target[:, 2] < 2500)
    assert 3 < corner.sum() < len(corner) / 3
    moving = rows.moving + corner[:, None] * [0.0, 150.0, 0.0]
    before = place.transform()
    assert place.call(table(tmp_path / "c.csv", rows._replace(moving=moving))).code == 0
    after = place.transform()
    assert place.report()["landmarks"]["moved"] == corner.sum()
    pulled = after.to_light(rows.target) - before.to_light(rows.target)
    assert np.median(pulled[corner, 1]) > 75
    far = (rows.target[:, 1] > 6000) & (rows.target[:, 2] > 6000)
    assert np.abs(pulled[far]).max() < 15


def test_an_unregistered_pair_is_rescued_by_a_person(place: Place, tmp_path: Path) -> None:
    wrong = table(tmp_path / "wrong.csv", true_rows(wrong_nm=3000.0))
    shutil.rmtree(place.out / "registration")
    shutil.rmtree(place.out / "lm")
    assert place.call(wrong).code == 1
    assert not (place.out / "lm/sim").exists()
    assert place.call(table(tmp_path / "right.csv", true_rows())).code == 0
    assert error_nm(place.transform()) < 1
    assert place.report()["landmarks"]["moved"] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file or directory; expected a table of BigWarp"),
        ('"Pt-0","true",1,2\n', "row 1: 4 columns; expected"),
        ('"Pt-0","true",1,2,3,4,5,6\n', "1 rows; expected at least 4"),
        (b"\xff\xfe", "no text; expected a table of BigWarp"),
    ],
)
def test_a_table_that_is_none_is_refused(
    begun: Place, tmp_path: Path, text: str | bytes | None, says: str
) -> None:
    place = begun._replace(out=tmp_path / "new.zarr")
    path = tmp_path / "t.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    answer = place.call(path)
    assert (answer.code, answer.err.count(says)) == (2, 1), answer.err
    assert not place.out.exists()


def test_what_was_made_of_other_images_or_by_a_pipeline_is_left(
    place: Place, tmp_path: Path
) -> None:
    rows = table(tmp_path / "t.csv", true_rows())
    other = Image((PAIR.light.voxels + 1).astype(np.uint16), LIGHT_NM)
    half = [v / 2 for v in LIGHT_NM]
    path = ngff(tmp_path / "other.zarr", other.voxels, size=LIGHT_NM, place=half)
    before = tree(place.out)
    answer = place.call(rows, light=path)
    assert answer.code == 2 and "is of another light image; give --name" in answer.err
    assert tree(place.out) == before
    (place.out / "summaries/registration/sim").mkdir(parents=True)
    answer = place.call(rows)
    assert answer.code == 2 and "registration/sim is of the pipeline; give --name" in answer.err


def test_the_gap_is_that_of_the_search_that_was_corrected() -> None:
    rows = true_rows()
    found = corrected(PAIR.em, PAIR.light, rows, SIM, Settings(), (PAIR.truth, 0.01))
    assert found.judgement.gap == 0.01
    assert found.judgement.status == "unregistered"
    assert np.array_equal(found.transform.matrix, PAIR.truth.matrix)
