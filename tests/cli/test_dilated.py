"""Truths that were drawn too thin: dilated as published, and said wherever a score is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fibstream.app.evaluation.store import read

from ..support.command import inside
from .test_evaluate import evaluate, ngff

Mask = NDArray[np.bool_]
SHAPE = (300, 9, 12)  # three blocks
SIZE = 2.0


def published(mask: Mask, nm: float) -> Mask:
    """Dilate as run_evaluation.py of the paper does: the signed distance and a constant, from 0."""
    every = ndimage.generate_binary_structure(3, 3)
    core = ndimage.binary_erosion(mask, structure=every, border_value=1)
    signed = ndimage.distance_transform_edt(core, sampling=SIZE)
    signed = signed - ndimage.distance_transform_edt(~mask, sampling=SIZE)
    return np.asarray(signed + nm >= 0)


def dots(seed: int = 1) -> Mask:
    return np.random.default_rng(seed).random(SHAPE) < 0.004


def rough(seed: int = 2) -> Mask:
    smooth = ndimage.uniform_filter(np.random.default_rng(seed).random(SHAPE), 5)
    return np.asarray(smooth > np.quantile(smooth, 0.7))


def written(path: Path, mask: Mask, **more: Any) -> Path:
    return ngff(path, mask.astype(np.uint8), **{"size": SIZE, **more})


@pytest.mark.parametrize("nm", [2.0, 8.0, 3.0])
def test_every_score_is_that_of_a_truth_dilated_on_disk(tmp_path: Path, nm: float) -> None:
    mask, out = dots(), tmp_path / "s.json"
    truth, test = written(tmp_path / "t", mask), written(tmp_path / "p", rough())
    wide = published(mask, nm)
    assert 3 * mask.sum() < wide.sum() < wide.size
    answer, expected = evaluate(written(tmp_path / "wide", wide), test, out)
    assert answer.code == 0, answer.err
    answer, found = evaluate(truth, test, out, "--dilate-nm", nm)
    assert answer.code == 0, answer.err
    assert found["compared"].pop("truth_dilated_nm") == nm
    assert found == expected and found["tp"] > 0
    thin = evaluate(truth, test, out, "--dilate-nm", 0)[1]
    assert "truth_dilated_nm" not in thin["compared"]
    assert thin == evaluate(truth, test, out)[1] != expected


def test_what_is_drawn_beside_what_is_compared_reaches_into_it(tmp_path: Path) -> None:
    mask, out = np.zeros(SHAPE, bool), tmp_path / "s.json"
    mask[[97, 207], 4, 5] = True  # 3 voxels before the first slice of the test, 8 nm past its end
    mask[150, 4, 5] = True
    test = written(tmp_path / "p", rough()[100:204], at=200.0)
    wide = published(mask, 8)[100:204]
    assert wide[:20].any() and wide[-20:].any()
    expected = evaluate(written(tmp_path / "wide", wide, at=200.0), test, out)[1]
    found = evaluate(written(tmp_path / "t", mask, at=0.0), test, out, "--dilate-nm", 8)[1]
    assert found["metrics"] == expected["metrics"] and found["tp"] == expected["tp"]


def test_distances_are_those_on_the_voxels_of_the_truth(tmp_path: Path) -> None:
    """The paper dilates truth of 2 nm before it is compared with 4 nm: so whatever is compared."""
    mask, out = dots(), tmp_path / "s.json"
    coarse = rough()[::2, :4, ::2]
    test = written(tmp_path / "p", coarse, size=4.0)
    cut = mask[:, :8]
    expected = evaluate(written(tmp_path / "wide", published(cut, 5)), test, out)[1]
    found = evaluate(written(tmp_path / "t", cut), test, out, "--dilate-nm", 5)[1]
    assert found["metrics"] == expected["metrics"]
    fine = written(tmp_path / "f", np.kron(rough(), np.ones((2, 2, 2))) > 0, size=1.0)
    expected = evaluate(written(tmp_path / "w2", published(mask, 5)), fine, out)[1]
    found = evaluate(written(tmp_path / "t2", mask), fine, out, "--dilate-nm", 5)[1]
    assert found["metrics"] == expected["metrics"]


def test_what_is_not_annotated_is_neither_dilated_nor_reached(tmp_path: Path) -> None:
    mask, annotated, out = dots(), np.zeros(SHAPE, bool), tmp_path / "s.json"
    annotated[40:190, 2:8] = True
    truth, test = written(tmp_path / "t", mask), written(tmp_path / "p", rough())
    known = ("--mask", written(tmp_path / "m", annotated))
    wide = published(mask & annotated, 8) & annotated
    assert not np.array_equal(wide, published(mask, 8) & annotated)
    expected = evaluate(written(tmp_path / "wide", wide), test, out, *known)[1]
    found = evaluate(truth, test, out, *known, "--dilate-nm", 8)[1]
    assert found["metrics"] == expected["metrics"]


def test_nothing_is_dilated_to_nothing(tmp_path: Path) -> None:
    empty = written(tmp_path / "t", np.zeros(SHAPE, bool))
    answer, found = evaluate(empty, empty, tmp_path / "s.json", "--dilate-nm", 8)
    assert answer.code == 0 and found["tp"] == 0 and found["metrics"]["dice"] is None


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--dilate-nm", -1), "--dilate-nm -1: expected 0 to 1e+09 nm"),
        (("--dilate-nm", "nan"), "--dilate-nm nan: expected 0 to 1e+09 nm"),
        (("--dilate-nm", 129), "voxels of 2,2,2 nm; expected at most 64 voxels"),
        (("--dilate-nm", 8, "--instances"), "not with --instances"),
        (("--store", "x.parquet", "--label", "ribosomes", "--crop", "c"),
         "class ribosomes: its published truth is drawn 8 nm too thin; give --dilate-nm 8, or 0"),
        (("--store", "x.parquet", "--label", "centrosome", "--crop", "c"), "give --dilate-nm 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_dilated_is_one_line(tmp_path, monkeypatch, more, says) -> None:
    monkeypatch.chdir(tmp_path)
    truth = written(tmp_path / "t", dots())
    answer, scores = evaluate(truth, truth, tmp_path / "s.json", *more)
    assert (answer.code, scores) == (2, None)
    (line,) = (each for each in answer.err.splitlines() if each.startswith("fibstream:"))
    assert says in line and not (tmp_path / "x.parquet").exists()


def test_a_length_needs_a_voxel_size_and_one_voxel_at_least(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", dots().astype(np.uint8))
    out = tmp_path / "s.json"
    answer, scores = evaluate(tmp_path / "m.npy", tmp_path / "m.npy", out, "--dilate-nm", 8)
    assert (answer.code, scores) == (2, None) and "states no voxel size" in answer.err
    truth = written(tmp_path / "t", dots())
    answer, scores = evaluate(truth, truth, out, "--dilate-nm", 1)
    assert (answer.code, scores) == (2, None)
    assert "--dilate-nm 1: " in answer.err and "nothing would be dilated" in answer.err


def test_a_store_tells_dilated_truths_apart_and_a_choice_takes_one(tmp_path: Path) -> None:
    truth, store = written(tmp_path / "t", dots()), tmp_path / "scores.parquet"
    for setup, mask in (("a", published(dots(), 8)), ("b", dots())):
        grey = np.where(mask, 200, 50).astype(np.uint8)
        test = ngff(tmp_path / setup, grey, size=SIZE)
        for nm in (0, 8):
            answer, _ = evaluate(
                truth, test, tmp_path / "s.json", "--threshold", 127, "--dilate-nm", nm,
                "--store", store, "--label", "ribosomes", "--crop", "c1", "--setup", setup,
                "--iteration", 10,
            )  # fmt: skip
            assert answer.code == 0, answer.err
    kept = {row["metric_params"] for row in read(store).to_pylist() if row["metric"] == "dice"}
    assert {json.loads(text).get("dilate_nm", 0) for text in kept} == {0, 8}
    assert read(store).num_rows == 2 * 2 * 21
    out = tmp_path / "choices.csv"
    rule = ("--first", 1000, "--nothing", 1000, "--cap", 1000, "--metric", "dice")
    answer = inside("select", "--store", store, "--out", out, *rule)
    assert answer.code == 2 and answer.err.count("\n") == 1 and not out.exists()
    assert "dilated by 0, 8 nm; give --dilate-nm, one of these" in answer.err
    for nm, best in ((8, "a"), (0, "b")):
        answer = inside("select", "--store", store, "--out", out, *rule, "--dilate-nm", nm)
        assert answer.code == 0, answer.err
        (line,) = [row for row in out.read_text().splitlines() if ",validation," in row]
        assert f",{best},10," in line
