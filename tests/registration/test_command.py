"""`fibstream register`: what it writes is what the pure functions give, in the files' frames."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import zarr

from fibstream.cli.registered import Answer
from fibstream.cli.registering import Asked, register_light
from fibstream.cli.viewer.opening import open_viewable
from fibstream.cli.viewer.state import layer_state
from fibstream.core.grid import Box
from fibstream.services.registration.edges.files import read_transform
from fibstream.services.registration.exchange import bigwarp_rows
from fibstream.services.registration.port import Image
from fibstream.services.registration.settings import Settings
from fibstream.services.registration.support import support
from fibstream.services.registration.warp import pulled, warped_block
from fibstream.volumes.sources import open_volume

from ..cli.viewing import make, named
from ..support.command import inside
from .made import EM_NM, LIGHT_NM, Made, made
from .test_images import ngff

SMALL = Settings(candidates=4, angle_deg=6.0, scales=(0.94, 1.05))
EM_AT, LIGHT_AT = (640.0, 64.0, -1000.0), (62.5, 60.0, 5060.0)  # of the first centres


class Written(NamedTuple):
    """Files of a pair, and what the command made of them."""

    em: str
    light: str
    out: Path
    answer: Answer
    pair: Made


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder, pair = tmp_path_factory.mktemp("register"), made()
    em = ngff(folder / "em.zarr", pair.em.voxels, size=EM_NM, place=EM_AT)
    light = ngff(folder / "sim.zarr", pair.light.voxels, size=LIGHT_NM, place=LIGHT_AT)
    rng, out = np.random.default_rng(5), folder / "clem.zarr"
    noisy = [
        (v.astype(np.int64) + rng.integers(0, 6, v.shape)).clip(0, 255 * top)
        for v, top in ((pair.em.voxels, 1), (pair.light.voxels, 257))
    ]
    er = ngff(folder / "er.zarr", noisy[0].astype(np.uint8), size=EM_NM, place=EM_AT)
    seen = ngff(folder / "ler.zarr", noisy[1].astype(np.uint16), size=LIGHT_NM, place=LIGHT_AT)
    answer = register_light(Asked(light, em, out, held_out=f"{seen}={er}"), SMALL)
    return Written(em, light, out, answer, pair)


def placed(written: Written) -> tuple[Image, Image]:
    """The pair in the frames of the files: first centres where they state them."""
    em = Image(written.pair.em.voxels, EM_NM, corner(EM_AT, EM_NM))
    return em, Image(written.pair.light.voxels, LIGHT_NM, corner(LIGHT_AT, LIGHT_NM))


def ome(group: Path) -> Any:
    return json.loads((group / "zarr.json").read_text())["attributes"]["ome"]


def corner(at: Any, voxel: Any) -> tuple[float, float, float]:
    z, y, x = (a - v / 2 for a, v in zip(at, voxel, strict=True))
    return z, y, x


def test_the_transform_leads_from_place_to_place_as_the_files_state_them(
    written: Written,
) -> None:
    folder = written.out / "registration/sim"
    found = written.answer.found.transform
    points = written.answer.found.points_nm
    for name in ("transform.h5", "transform.tfm"):
        read = read_transform(folder / name)
        assert np.array_equal(read.to_light(points), found.to_light(points))
    # The truth has its origin at the corners of both volumes.
    at = written.pair.points + np.array(corner(EM_AT, EM_NM))
    truth = written.pair.truth.to_light(written.pair.points) + np.array(corner(LIGHT_AT, LIGHT_NM))
    miss = np.linalg.norm(read.to_light(at) - truth, axis=1)
    assert np.median(miss) < 60
    assert written.answer.status == "registered"


def test_the_light_lies_on_the_grid_of_the_prediction_block_by_block(written: Written) -> None:
    transform = read_transform(written.out / "registration/sim/transform.h5")
    em, light = placed(written)
    source = open_volume(f"{written.out}#lm/sim")
    assert source.voxel_size_nm == EM_NM
    assert source.dtype == light.voxels.dtype
    whole = np.floor(pulled(transform, light, em) + np.float32(0.5)).astype(np.uint16)
    assert np.array_equal(source.read(Box((0, 0, 0), source.shape)), whole)
    level = ome(written.out / "lm/sim")["multiscales"][0]["datasets"][0]
    assert level["coordinateTransformations"][1]["translation"] == list(EM_AT)
    box = Box((3, 10, 20), (9, 31, 50))
    part = warped_block(transform, light, (em.voxel_nm, em.corner_nm), box)
    assert np.array_equal(part, whole[box.slices()])


def test_the_field_says_what_the_transform_does(written: Written) -> None:
    folder = written.out / "registration/sim"
    transform = read_transform(folder / "transform.h5")
    (whole,) = ome(folder)["scene"]["coordinateTransformations"]
    warp, affine = whole["transformations"]
    (image,) = ome(folder / warp["path"])["multiscales"]
    scale, shift = image["datasets"][0]["coordinateTransformations"][0]["transformations"]
    values = np.asarray(zarr.open_array(folder / warp["path"] / "s0", mode="r"))
    assert values.shape[0] == 3
    axes = [np.arange(n) for n in values.shape[1:]]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    points = index.reshape(-1, 3) * scale["scale"][1:] + shift["translation"][1:]
    matrix = np.array(affine["affine"])
    moved = (points + values.reshape(3, -1).T) @ matrix[:, :3].T + matrix[:, 3]
    assert np.abs(moved - transform.to_light(points)).max() < 0.01
    em, _ = placed(written)
    assert points.min(axis=0) == pytest.approx(em.corner_nm)
    assert points.max(axis=0) == pytest.approx(np.array(em.corner_nm) + em.extent_nm)
    assert 0 <= written.answer.facts["field_error_nm"] < 10


def test_landmarks_and_the_affine_map_are_what_other_programs_take(written: Written) -> None:
    folder = written.out / "registration/sim"
    transform = read_transform(folder / "transform.h5")
    rows = bigwarp_rows((folder / "landmarks.csv").read_text())
    assert len(rows.names) > 40
    assert np.array_equal(transform.to_light(rows.target), rows.moving)
    state = json.loads((folder / "neuroglancer.json").read_text())
    back = np.array(state["matrix"])
    flat = rows.target @ transform.matrix.T + transform.offset
    assert np.abs(flat @ back[:, :3].T + back[:, 3] - rows.target).max() < 1e-6


def test_the_report_says_what_was_read_and_how_far_off_a_held_out_channel_is(
    written: Written,
) -> None:
    folder = written.out / "registration/sim"
    report = json.loads((folder / "report.json").read_text())
    assert report == json.loads(json.dumps(written.answer.facts))
    assert report["light"]["voxel_nm"] == list(LIGHT_NM)
    assert report["judgement"]["status"] == "registered"
    assert 0 < report["held_out"]["median_nm"] < 60
    page = (folder / "index.html").read_text()
    assert "registered" in page
    pictures = ["checkerboard", "error", "overlay", "residuals", "stretch", "valid"]
    assert sorted(p.stem for p in folder.glob("*.png")) == pictures
    for picture in pictures:
        assert base64.b64encode((folder / f"{picture}.png").read_bytes()).decode() in page
    lost = int(np.isnan(written.answer.found.error_nm).sum())
    assert f"the {lost} of {len(written.answer.found.points_nm)} patches" in page


def test_where_it_is_supported_lies_on_the_grid_of_the_light(written: Written) -> None:
    em, light = placed(written)
    path = written.out / "registration/sim/valid"
    source, warped = open_volume(str(path)), open_volume(f"{written.out}#lm/sim")
    assert (source.shape, source.voxel_size_nm) == (warped.shape, warped.voxel_size_nm)
    mine, light_s = (ome(p)["multiscales"][0] for p in (path, written.out / "lm/sim"))
    assert mine["datasets"][0] == light_s["datasets"][0]
    voxels = source.read(Box((0, 0, 0), source.shape))
    wanted = support(written.answer.found, em, light).voxels
    for axis in range(3):
        wanted = wanted.repeat(2, axis)
    assert np.array_equal(voxels, wanted[tuple(map(slice, voxels.shape))])
    valid = written.answer.facts["valid"]
    assert 0.5 < valid["share"] == support(written.answer.found, em, light).voxels.mean()
    assert f"{100 * valid['share']:.0f} %" in (path.parent / "index.html").read_text()


@pytest.mark.parametrize("group", ["lm/other", "registration/other"])
def test_what_is_no_registration_is_not_replaced(
    group: str, written: Written, tmp_path: Path
) -> None:
    zarr.create_group(tmp_path / "out.zarr")
    zarr.create_group(tmp_path / "out.zarr" / group)
    answer = inside(
        "register", "--light", written.light, "--em", written.em, "--out", tmp_path / "out.zarr",
        "--name", "other",
    )  # fmt: skip
    assert answer.code == 2
    assert f"has {group}, which is no registration; give --name" in answer.err


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    answer = inside("register", "--light", "none", "--em", "none", "--out", tmp_path / "plain")
    assert answer.code == 2
    assert "exists and is not a Zarr group; expected a new path" in answer.err


def test_the_light_of_another_cell_is_unregistered_and_nothing_of_it_stays(
    written: Written, tmp_path: Path
) -> None:
    other = made(7, 20.0, 1.0, 1.0).light.voxels
    light = ngff(tmp_path / "sim.zarr", other, size=LIGHT_NM)
    far = ngff(tmp_path / "far.zarr", other[::-1], size=LIGHT_NM, place=(1e6, 0, 0))
    held = f"{far}={Path(written.em).parent / 'er.zarr'}"
    asked = Asked(light, written.em, tmp_path / "out.zarr", held_out=held)
    answer = register_light(asked, SMALL)
    assert answer.status == "unregistered"
    assert answer.facts["held_out"]["median_nm"] is None  # none of its patches has a place
    assert answer.facts["judgement"]["reasons"]
    folder = tmp_path / "out.zarr/registration/sim"
    assert sorted(p.name for p in folder.iterdir()) == [
        "index.html", "overlay.png", "report.json", "zarr.json",
    ]  # fmt: skip
    assert not (tmp_path / "out.zarr/lm").exists()
    page = (folder / "index.html").read_text()
    assert "No transform" in page
    assert f"none of the {answer.facts['held_out']['lost']} patches of" in page


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "microscope": (("--microscope", "fax"), "--microscope 'fax': expected palm, sim, confocal or"),
    "widths": (("--microscope", "nan,100"), "--microscope 'nan,100': expected palm"),
    "width": (("--microscope", "0,100"), "expected axial,lateral of 1 to 5000 nm"),
    "window": (("--window", "9,1"), "--window 9,1: expected finite LOW below HIGH"),
    "held out": (("--held-out", "x.zarr"), "--held-out x.zarr: expected LIGHT=PREDICTION"),
    "seen": (("--held-out", "{light}={em}"), "sim.zarr#s0: is what registration sees"),
    "name": (("--name", "a/b"), "--name: name 'a/b': expected letters"),
    "size": (("--light-voxel-nm", "1,2"), "--light-voxel-nm"),
    "other size": (("--light-voxel-nm", "100,120,120"), "but 100,120,120 nm was given"),
    "light": (("--light", "nothing.zarr"), "nothing.zarr"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_call_is_one_line_and_writes_nothing(
    fault: str, written: Written, tmp_path: Path
) -> None:
    flags, why = WRONG[fault]
    out = tmp_path / "out.zarr"
    given = {"--light": written.light, "--em": written.em, "--out": str(out)}
    texts = [text.format(light=written.light, em=written.em) for text in flags]
    given |= dict(zip(texts[::2], texts[1::2], strict=True))
    answer = inside("register", *(word for pair in given.items() for word in pair))
    assert answer.code == 2, answer
    assert why in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("finished") / "cell.zarr")


def test_the_viewer_adds_the_warped_light_and_no_other(written: Written, tmp_path: Path) -> None:
    (layer,) = open_viewable(str(written.out)).scene("D{}/".format, named).layers
    assert layer.name == "sim"
    for group in ("predictions/mito", "lm/sim_mito"):
        ngff(tmp_path / "cell.zarr" / group, written.pair.em.voxels, size=EM_NM, place=EM_AT)
    zarr.create_group(tmp_path / "cell.zarr")
    for parent in ("predictions", "lm"):
        zarr.create_group(tmp_path / "cell.zarr" / parent)
    assert open_viewable(str(tmp_path / "cell.zarr")).groups() == ["predictions/mito"]
    for part in ("lm", "registration"):
        shutil.copytree(written.out / part / "sim", tmp_path / "cell.zarr" / part / "sim")
    found = open_viewable(str(tmp_path / "cell.zarr")).scene("D{}/".format, named).layers
    assert [(layer.name, layer.kind) for layer in found] == [
        ("prediction mito", "prediction"), ("lm/sim", "light"),
    ]  # fmt: skip
    state = layer_state(found[1])
    assert state["blend"] == "additive"
    assert state["shaderControls"]["bright"]["range"] == list(found[1].window or ())


def test_a_dataset_takes_the_light_only_where_the_prediction_lies_in_it(
    written: Written, finished: Path, tmp_path: Path
) -> None:
    cell = tmp_path / "cell.zarr"
    shutil.copytree(finished, cell)
    answer = inside("register", "--light", written.light, "--em", written.em, "--out", cell)
    assert answer.code == 2
    assert "does not lie inside the dataset" in answer.err
    for part in ("lm", "registration"):
        shutil.copytree(written.out / part / "sim", cell / part / "sim")
    groups = open_viewable(str(cell)).groups()
    assert groups[-1] == "lm/sim"
    assert open_viewable(str(cell)).scene("D{}/".format, named).layers[-1].kind == "light"
