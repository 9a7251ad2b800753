"""A registration that streams: equal to the command on the finished volume, whatever the chunks."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream import registry
from fibstream.app.design import design
from fibstream.app.pipelines import parse_pipeline
from fibstream.bus.memory import MemoryFiles
from fibstream.cli.registering import Asked as Flags
from fibstream.cli.registering import register_light
from fibstream.core.arrays import decode_arrays, encode_arrays
from fibstream.core.dataset import Dataset, Prediction
from fibstream.core.errors import Poison, WrongUse
from fibstream.core.grid import Grid
from fibstream.core.pyramid import level_box, levels
from fibstream.core.stage import Block
from fibstream.core.subject import WHOLE
from fibstream.services.registration.answer import Answer, from_arrays, none_yet, to_arrays
from fibstream.services.registration.coarse import assembled, averaged, coarse_of, known_shape
from fibstream.services.registration.edges.lights import kept
from fibstream.services.registration.edges.stored import answered, look
from fibstream.services.registration.held_out import Score
from fibstream.services.registration.planned import registrations_of
from fibstream.services.registration.port import Image, Judgement, Registration
from fibstream.services.registration.settings import Microscope, Settings
from fibstream.services.registration.stages.registrations import registration_stage
from fibstream.services.registration.streamed import Known, known_of, score_of, share_of
from fibstream.services.registration.transform import Transform
from fibstream.store.local import LocalFiles
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from .made import LIGHT_NM, made
from .test_images import ngff
from .test_transform import made as transformed

RNG = np.random.default_rng(7)
EDGES = st.tuples(*[st.integers(1, 40)] * 3)
VOXELS = st.tuples(*[st.sampled_from((3.0, 8.0, 16.0, 33.0, 64.0, 100.0))] * 3)


def cells_of(whole: np.ndarray, voxel: Any, chunk: Any) -> tuple[dict[Any, np.ndarray], Any]:
    """Return what the stage makes of each cell, from the levels that such chunks have."""
    coarse = coarse_of(voxel, chunk)
    stored = levels(whole, "mean", coarse.level + 1)[-1]
    grid = Grid(whole.shape, coarse.edges)
    found = {
        index: averaged(stored[level_box(grid.box(index), coarse.level).slices()], coarse)
        for index in grid.indices()
    }
    return found, coarse


@given(EDGES, VOXELS, EDGES, EDGES)
def test_what_is_registered_does_not_depend_on_chunks(
    shape: Any, voxel: Any, one: Any, two: Any
) -> None:
    whole = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    first, second = (
        assembled(cells, whole.shape, coarse)
        for cells, coarse in (cells_of(whole, voxel, chunk) for chunk in (one, two))
    )
    assert np.array_equal(first, second)


@pytest.mark.parametrize("voxel", [(8.0, 8.0, 8.0), (5.0, 4.0, 4.0), (40.0, 16.0, 16.0)])
def test_it_is_what_the_command_reads_of_any_pyramid(tmp_path: Path, voxel: Any) -> None:
    from fibstream.services.registration.edges.images import read_prediction

    whole = RNG.integers(0, 256, (36, 68, 65), np.uint8)
    cells, coarse = cells_of(whole, voxel, (12, 14, 15))
    path = ngff(tmp_path / "p.zarr", whole, size=voxel, place=(0.0, 0.0, 0.0))
    read = read_prediction(path).image
    assert np.array_equal(read.voxels, assembled(cells, (36, 68, 65), coarse))
    assert read.voxel_nm == coarse.voxel_nm


def test_an_answer_is_the_same_after_it_was_stored() -> None:
    judgement = Judgement("check", ("why",), 0.5, 0.1, 0.6, 70, math.nan, 0.0)
    affine = Transform(RNG.normal(size=(3, 3)), RNG.normal(size=3))
    miss = RNG.normal(size=(9, 3))
    miss[2] = np.nan
    error = Image(RNG.normal(size=(3, 4, 5)).astype(np.float32), (9.0, 8.0, 7.0), (1.0, 2.0, 3.0))
    found = Registration(transformed(1), judgement, affine, RNG.normal(size=(9, 3)), miss, error)
    valid = Image(RNG.random((2, 3, 4)) < 0.5, (9.0, 8.0, 7.0), (1.0, 2.0, 3.0))
    again = from_arrays(to_arrays(Answer(judgement, found, 0.5, valid)))
    assert again.valid is not None and again.valid.voxel_nm == valid.voxel_nm
    assert np.array_equal(again.valid.voxels, valid.voxels)
    assert again.found is not None and again.found.error_map is not None
    assert (again.judgement.status, again.judgement.reasons) == ("check", ("why",))
    assert math.isnan(again.judgement.error_nm) and again.landed == 0.5
    points = RNG.uniform(0, 5000, (40, 3))
    for one, two in ((found.transform, again.found.transform), (affine, again.found.affine)):
        assert np.array_equal(one.to_light(points), two.to_light(points), equal_nan=True)
    assert np.array_equal(again.found.miss_nm, miss, equal_nan=True)
    assert np.array_equal(again.found.points_nm, found.points_nm)
    assert np.array_equal(again.found.error_map.voxels, error.voxels)
    assert again.found.error_map.corner_nm == error.corner_nm
    nothing = from_arrays(to_arrays(none_yet("searching", 0.1)))
    assert (nothing.found, nothing.judgement.status) == (None, "unregistered")


def test_the_share_that_landed_is_that_of_the_extent_as_far_as_it_is_known() -> None:
    coarse = coarse_of((64.0, 64.0, 64.0), (10, 10, 10))
    cells = {(0, 0, 0): 0, (1, 1, 0): 0}
    sealed, growing = Grid((40, 20, 15), (10, 10, 10)), Grid((None, 20, 15), (10, 10, 10))
    assert share_of(cells, sealed, coarse) == 2 / 16
    assert share_of(cells, growing, coarse) == 2 / 8
    assert known_shape(cells, growing, coarse) == (20, 20, 15)
    parts = {index: np.zeros((10, 10, 5 if index[2] else 10), np.uint8) for index in cells}
    known = known_of(parts, growing, coarse, (1.0, 2.0, 3.0))
    assert known is not None and known.image.corner_nm == (1.0, 2.0, 3.0)
    assert (known.share, known.landed.shape) == (2 / 8, (20, 20, 15))
    assert known.landed[:10, :10, :10].all() and known.landed[10:, 10:, :10].all()
    assert known.landed.sum() == 2000
    assert known_of({}, growing, coarse, (0.0, 0.0, 0.0)) is None


# -- a pipeline ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw, a prediction beside it and a light image, and a pipeline of them."""
    folder, pair = tmp_path_factory.mktemp("scene"), made()
    fine = pair.em.voxels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    place = tuple(edge / 2 for edge in LIGHT_NM)
    rng = np.random.default_rng(5)
    for em, sim, noise in (("em", "sim", 1), ("er", "ler", 6)):
        grey = fine.astype(np.int64) + rng.integers(0, noise, fine.shape)
        light = pair.light.voxels.astype(np.int64) + rng.integers(0, noise, pair.light.voxels.shape)
        ngff(folder / f"{em}.zarr", grey.clip(0, 255).astype(np.uint8), size=(64.0,) * 3,
             place=(0.0, 0.0, 0.0))  # fmt: skip
        ngff(folder / f"{sim}.zarr", light.astype(np.uint16), size=LIGHT_NM, place=place)
    np.save(folder / "raw.npy", np.zeros(fine.shape, np.uint8))
    (folder / "p.yaml").write_text(pipeline(folder, held(folder)))
    return folder


def pipeline(folder: Path, more: str = "", light: str = "sim.zarr") -> str:
    return (
        f"predictions:\n  - {{name: mm, from: {folder}/em.zarr}}\n"
        f"  - {{name: er, from: {folder}/er.zarr}}\n"
        f"registration:\n  - {{name: sim, light: {folder}/{light}, from: mm{more}}}\n"
    )


def held(folder: Path, light: str = "ler.zarr", source: str = "er") -> str:
    return f", held_out: {{light: {folder}/{light}, from: {source}}}"


def designed(folder: Path, text: str) -> Any:
    from fibstream.services.ingest.edges.stored import open_stored

    raw = open_volume(str(folder / "raw.npy"), kind="raw", voxel_size_nm=(64.0,) * 3)
    stored = [
        open_stored(name, f"{folder}/{file}.zarr", labels=False, raw=raw)
        for name, file in (("mm", "em"), ("er", "er"))
    ]
    return design("cell", raw, parse_pipeline(text, "p.yaml"), chunk=(16, 48, 48), stored=stored)


@pytest.fixture(scope="module")
def streamed(scene: Path) -> Path:
    """The dataset of a run; chunks that no edge of which is a multiple of the other."""
    out = scene / "cell.zarr"
    answer = inside(
        "run", "--raw", scene / "raw.npy", "--voxel-size-nm", "64", "--pipeline", scene / "p.yaml",
        "--chunk", "20,50,46", "--order", "random", "--bus", "memory:", "--out", out,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "registration sim: registered" in answer.err
    return out


def test_a_run_ends_with_what_the_command_finds_in_the_finished_volume(
    scene: Path, streamed: Path
) -> None:
    found = answered(LocalFiles(streamed), "summaries/registration/sim")
    assert found is not None and found[0].found is not None and found[0].landed == 1.0
    flags = Flags(
        f"{scene}/sim.zarr", f"{streamed}#predictions/mm", scene / "apart.zarr",
        held_out=f"{scene}/ler.zarr={streamed}#predictions/er",
    )  # fmt: skip
    answer = register_light(flags)
    alone = answer.found
    mine = found[0].found
    assert mine.judgement == alone.judgement
    for one, two in ((mine.transform, alone.transform), (mine.affine, alone.affine)):
        assert np.array_equal(one.matrix, two.matrix) and np.array_equal(one.offset, two.offset)
    one_spline, two_spline = mine.transform.spline, alone.transform.spline
    assert one_spline is not None and two_spline is not None
    assert np.array_equal(one_spline.coefficients, two_spline.coefficients)
    assert np.array_equal(mine.miss_nm, alone.miss_nm, equal_nan=True)
    reports = [
        json.loads((out / "registration/sim/report.json").read_text())
        for out in (streamed, scene / "apart.zarr")
    ]
    assert reports[0]["valid"] == reports[1]["valid"]
    one_held, two_held = (report["held_out"] for report in reports)
    assert one_held.pop("light") == "ler.zarr" and two_held.pop("light").startswith(str(scene))
    assert one_held.pop("em").endswith("cell.zarr#predictions/er") and two_held.pop("em")
    assert one_held == two_held and 0 < one_held["median_nm"] < 100
    page = (streamed / "registration/sim/index.html").read_text()
    assert f"median over {one_held['patches']} patches of ler.zarr" in page
    for path in ("lm/sim", "registration/sim/displacements", "registration/sim/valid"):
        files = [p for p in sorted((scene / "apart.zarr" / path).rglob("c/**/*")) if p.is_file()]
        assert files
        for file in files:
            same = streamed / file.relative_to(scene / "apart.zarr")
            assert same.read_bytes() == file.read_bytes(), file


def test_the_command_writes_what_services_found(scene: Path, streamed: Path) -> None:
    """A dataset of running services has the answer alone."""
    served = scene / "served" / "cell.zarr"
    shutil.copytree(streamed, served, ignore=shutil.ignore_patterns("lm", "registration"))
    found = "summaries/registration/sim"  # its parent has a name of those that are left out
    shutil.copytree(streamed / "summaries", served / "summaries", dirs_exist_ok=True)
    assert (served / found).is_file() and not (served / "registration").exists()
    answer = inside("register", "--out", served, "--json")
    assert (answer.code, answer.report) == (0, {"sim": "registered"}), answer.err
    for path in ("lm/sim", "registration/sim"):
        files = [p for p in sorted((streamed / path).rglob("*")) if p.is_file()]
        assert len(files) > 2
        for file in files:
            # The report names the prediction's path, and HDF5 the time.
            if file.suffix not in (".html", ".json", ".h5"):
                assert (served / file.relative_to(streamed)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "is no dataset; give --light and --em"),
        (("--light", "x.zarr"), "--light and --em go together"),
        (("--window", "1,2"), "--light and --em go together"),
        (("--name", "golgi"), "--name 'golgi': the pipeline of"),
    ],
)
def test_what_cannot_be_written_of_a_dataset_is_one_line(
    flags: tuple[str, ...], message: str, streamed: Path, tmp_path: Path
) -> None:
    out = streamed if "--name" in flags else tmp_path / "none.zarr"
    answer = inside("register", "--out", out, *flags)
    assert (answer.code, message in answer.err) == (2, True), answer.err
    assert not (tmp_path / "none.zarr").exists()


def test_the_same_run_again_computes_and_writes_nothing(scene: Path, streamed: Path) -> None:
    report = streamed / "registration/sim/report.json"
    before = report.stat().st_mtime_ns
    answer = inside(
        "run", "--raw", scene / "raw.npy", "--voxel-size-nm", "64", "--pipeline", scene / "p.yaml",
        "--chunk", "20,50,46", "--bus", "memory:", "--out", streamed, "--json",
    )  # fmt: skip
    assert answer.code == 0 and answer.report["chunks_computed"] == 0
    assert report.stat().st_mtime_ns == before
    assert json.loads(report.read_text())["landed"] == 1.0
    assert inside("verify", streamed).code == 0
    assert look(LocalFiles(streamed), "sim") is not None


def test_a_little_that_has_landed_is_not_searched(scene: Path) -> None:
    made_of = designed(scene, pipeline(scene))
    (planned,) = registrations_of(made_of.dataset)
    flat = Image(np.ones((5, 5, 5)), LIGHT_NM)
    stage = registration_stage(made_of.dataset, planned, lambda _: flat, encode_arrays)
    (rows,) = stage.inputs
    few = {rows.name: {(0, 0, 0): {"grey": np.ones((16, 48, 48), np.uint8)}}}
    grid = made_of.dataset.grid
    block = Block(WHOLE, grid.volume, {}, cells=few, grid=grid)
    (data,) = stage.compute(block).values()
    assert isinstance(data, bytes)
    answer = from_arrays(decode_arrays(data))
    assert answer.found is None and answer.landed < 0.25
    assert answer.judgement.reasons[0].startswith("searching: ")


def test_what_cannot_be_registered_is_an_answer_with_its_reason(scene: Path) -> None:
    made_of = designed(scene, pipeline(scene))
    (planned,) = registrations_of(made_of.dataset)
    flat = Image(np.ones((8, 8, 8), np.uint16), LIGHT_NM)
    stage = registration_stage(made_of.dataset, planned, lambda _: flat, encode_arrays)
    (rows,) = stage.inputs
    grid = made_of.dataset.grid
    every = Grid(grid.shape, rows.cells.grid(grid).chunk)
    grey = {
        i: {"grey": RNG.integers(0, 256, every.box(i).shape, np.uint8)} for i in every.indices()
    }
    block = Block(WHOLE, grid.volume, {}, cells={rows.name: grey}, grid=grid)
    (data,) = stage.compute(block).values()
    assert isinstance(data, bytes)
    answer = from_arrays(decode_arrays(data))
    assert answer.found is None and answer.landed == 1.0
    assert answer.judgement.reasons == ("light: flat, every voxel is 1",)


def test_the_light_image_is_kept_and_a_damaged_one_is_named(scene: Path) -> None:
    made_of = designed(scene, pipeline(scene))
    (planned,) = registrations_of(made_of.dataset)
    assert planned.light.file == "sim.zarr"
    files = MemoryFiles()
    with pytest.raises(Poison, match="has no file provenance/lights/"):
        kept(files, planned.light)
    files.put(planned.light.path, made_of.files[planned.light.path])
    assert np.array_equal(kept(files, planned.light).voxels, made().light.voxels)
    files.put(planned.light.path, made_of.files[planned.light.path][:-9])
    with pytest.raises(Poison, match=r"damaged; expected the voxels of sim\.zarr"):
        kept(files, planned.light)
    other = planned.light.model_copy(update={"hash": "0" * 32})
    files.put(other.path, made_of.files[planned.light.path])
    with pytest.raises(Poison, match="damaged"):
        kept(files, other)


@pytest.mark.parametrize(
    ("more", "light", "message"),
    [
        (", microscope: sem", "sim.zarr", "line 5: registration: microscope 'sem': expected palm"),
        (", window: [9, 3]", "sim.zarr", "line 5: window"),
        (", windows: [3, 9]", "sim.zarr", "line 5: unknown word 'windows'; allowed: name"),
        ("", "no.zarr", "line 5: "),
        ("", "raw.npy", "line 5: "),  # states no size
    ],
)
def test_a_wrong_word_is_told_with_its_line(
    scene: Path, more: str, light: str, message: str
) -> None:
    with pytest.raises(WrongUse) as error:
        designed(scene, pipeline(scene, more, light))
    assert message in str(error.value), error.value


def test_a_prediction_that_is_not_there_and_a_name_given_twice_are_told(scene: Path) -> None:
    text = pipeline(scene)
    with pytest.raises(WrongUse, match="line 5: registration: no prediction 'golgi': mm, er"):
        designed(scene, text.replace("from: mm}", "from: golgi}"))
    twice = text + text.splitlines()[-1] + "\n"
    with pytest.raises(WrongUse, match="line 6: registration: sim is named twice"):
        designed(scene, twice)


@pytest.mark.parametrize(
    ("light", "source", "message"),
    [
        ("ler.zarr", "mm", "registration: held_out: from mm is what it registers"),
        ("sim.zarr", "er", "registration: held_out: light sim.zarr is what it registers"),
        ("ler.zarr", "golgi", "registration: no prediction 'golgi': mm, er"),
        ("ler.zarr", "[er]", "registration: held_out.from: Input should be a valid string"),
        ("ler.zarr", "er, to: mm", "registration: held_out.to: Extra inputs are not permitted"),
        ("no.zarr", "er", "no.zarr"),
    ],
)
def test_a_held_out_channel_of_no_use_is_told_with_its_line(
    scene: Path, light: str, source: str, message: str
) -> None:
    with pytest.raises(WrongUse) as error:
        designed(scene, pipeline(scene, held(scene, light, source)))
    assert "line 5: " in str(error.value) and message in str(error.value), error.value


def known_as(grey: np.ndarray) -> Known:
    return Known(Image(grey, (128.0,) * 3), np.ones(grey.shape, np.bool_), 0.5)


def test_a_held_out_channel_that_says_nothing_gives_the_reason() -> None:
    affine = Transform(np.eye(3), np.zeros(3))
    judgement = Judgement("registered", (), 0.5, 0.2, 0.9, 70, 40.0, 0.0)
    found = Registration(affine, judgement, affine, np.zeros((1, 3)), np.zeros((1, 3)))
    answer, light, by = Answer(judgement, found, 0.5), made().light, (Microscope((300, 120)),)
    seen = known_as(made().em.voxels)
    for apart, reason in (
        (None, "nothing of its prediction has landed"),
        (known_as(made().em.voxels.copy()), "its prediction is what registration sees"),
        (known_as(np.zeros((9, 9, 9), np.uint8)), "prediction: flat, every voxel is 0"),
    ):
        score = score_of(answer, seen, apart, light, (*by, Settings()))
        assert score == Score(reason=reason)
        assert from_arrays(to_arrays(answer._replace(apart=score))).apart == score
    assert score_of(none_yet("searching", 0.1), seen, seen, light, (*by, Settings())) is None


def test_a_held_out_channel_alone_is_nothing_to_register(scene: Path) -> None:
    made_of = designed(scene, pipeline(scene, held(scene)))
    (planned,) = registrations_of(made_of.dataset)
    assert planned.held_out is not None
    assert {planned.light.path, planned.held_out.light.path} <= made_of.files.keys()
    stage = registration_stage(made_of.dataset, planned, lambda _: made().light, encode_arrays)
    assert [rows.stage for rows in stage.inputs] == ["coarse/mm", "coarse/er"]
    rows: dict[str, Any] = {each.name: {} for each in stage.inputs}
    rows[stage.inputs[1].name] = {(0, 0, 0): {"grey": np.ones((16, 48, 48), np.uint8)}}
    grid = made_of.dataset.grid
    (data,) = stage.compute(Block(WHOLE, grid.volume, {}, cells=rows, grid=grid)).values()
    assert isinstance(data, bytes)
    answer = from_arrays(decode_arrays(data))
    assert answer.judgement.reasons == ("searching: 0% has landed, expected 25%",)


def test_without_a_registration_its_service_owns_nothing() -> None:
    bare = Dataset(
        name="cell", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255), predictions=(Prediction(name="mm"),),
    )  # fmt: skip
    assert registry.service("registration").stages(bare, MemoryFiles()) == []
