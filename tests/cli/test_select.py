"""`fibstream evaluate --store` and `select`: from masks on disk to choices and plots."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fibstream.app.evaluation.store import append, read

from ..support.command import inside

RULE = ("--first", 1000, "--nothing", 1000, "--cap", 1000)


def prediction(truth: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Return bytes around the threshold, the more wrong the more noise."""
    rng = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(rng.normal(size=truth.shape), 1) * noise
    return np.clip(np.where(truth, 160, 90) + rough, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two setups at two iterations on two crops, by the command; small becomes better."""
    folder = tmp_path_factory.mktemp("store")
    path = folder / "scores.parquet"
    noise = {("small", 10): 400, ("small", 20): 100, ("large", 10): 200, ("large", 20): 300}
    for n, crop in enumerate(("c1", "c2")):
        truth = ndimage.gaussian_filter(np.random.default_rng(n).random((16, 16, 16)), 2) > 0.5
        np.save(folder / f"{crop}.npy", truth.astype(np.uint8))
        for (setup, iteration), much in noise.items():
            np.save(folder / "p.npy", prediction(truth, much, 7 + n))
            answer = inside(
                "evaluate", "--truth", folder / f"{crop}.npy", "--test", folder / "p.npy",
                "--threshold", 127, "--voxel-size-nm", 8, "--out", folder / "s.json",
                "--store", path, "--label", "mito", "--crop", crop, "--setup", setup,
                "--iteration", iteration, "--raw-dataset", f"cell-{crop}",
            )  # fmt: skip
            assert answer.code == 0, answer.err
    return path


def choices(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_best_setup_is_chosen_on_the_other_crops(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "choices.csv"
    answer = inside("select", "--store", store, "--out", out, *RULE)
    assert answer.code == 0, answer.err
    found = choices(out)
    assert len(found) == 8  # two metrics, two crops, two ways
    assert {(row["setup"], row["iteration"]) for row in found} == {("small", "20")}
    assert all(float(row["dice"]) > 0.8 for row in found)
    answer = inside("select", "--store", store, "--out", out, *RULE[:-1], 10)
    assert {(row["setup"], row["iteration"]) for row in choices(out)} == {("large", "10")}


def test_groups_and_choices_by_hand_are_compared_in_plots(store: Path, tmp_path: Path) -> None:
    hand, out, plots = tmp_path / "hand.csv", tmp_path / "choices.csv", tmp_path / "plots"
    hand.write_text("setup,labelname,iteration,raw_dataset\nlarge,mito,20,cell-c1\n")
    answer = inside(
        "select", "--store", store, "--out", out, "--manual", hand, "--plots", plots, *RULE,
        "--group", "all=small,large", "--group", "one=large",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    rows = [(r["group"], r["crop"], r["setup"]) for r in choices(out) if r["way"] == "manual"]
    assert rows == [(group, "c1", "large") for group in ("all setups", "all", "one")]
    names = {path.stem for path in plots.iterdir()}
    assert names == {"classes", "groups", "manual", "selectors"}
    for path in plots.iterdir():
        with Image.open(path) as image:
            assert image.size[0] > 300 and np.ptp(np.asarray(image.convert("L"))) > 100


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--label", "er"), "label er: the store has no dice"),
        (("--metric", "beauty"), "metric beauty: expected one of dice"),
        (("--group", "one"), "--group one: expected NAME=SETUP,SETUP of large, small"),
        (("--group", "one=huge"), "--group one=huge: expected NAME=SETUP"),
    ],
)
def test_wrong_words_are_one_line(
    store: Path, tmp_path: Path, words: tuple[str, str], line: str
) -> None:
    answer = inside("select", "--store", store, "--out", tmp_path / "c.csv", *words)
    assert answer.code == 2
    assert answer.err.count("\n") == 1 and line in answer.err
    assert not (tmp_path / "c.csv").exists()


def test_a_wrong_list_of_choices_is_named_with_its_line(store: Path, tmp_path: Path) -> None:
    hand = tmp_path / "hand.csv"
    for text, says in (
        ("setup,labelname,iteration,raw_dataset\na,mito,x,c\n", "line 2: expected setup,labelname"),
        ("a,b\n1,2\n", "line 1: expected the columns setup,labelname"),
        ("\x00\n\x00", "line 1: expected the columns"),
    ):
        hand.write_text(text)
        answer = inside("select", "--store", store, "--out", tmp_path / "c.csv", "--manual", hand)
        assert answer.code == 2 and "--manual" in answer.err and says in answer.err


def test_a_segmentation_is_plotted_against_its_prediction(store: Path, tmp_path: Path) -> None:
    both, truth = tmp_path / "both.parquet", store.parent / "c1.npy"
    both.write_bytes(store.read_bytes())
    answer = inside(
        "evaluate", "--truth", truth, "--test", truth, "--voxel-size-nm", 8, "--out",
        tmp_path / "s.json", "--store", both, "--label", "mito", "--crop", "c1", "--setup",
        "small", "--iteration", 20, "--raw-dataset", "cell-c1",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    for given, drawn in ((store, False), (both, True)):
        plots = tmp_path / given.stem
        out = tmp_path / "choices.csv"
        answer = inside("select", "--store", given, "--out", out, "--plots", plots, *RULE)
        assert answer.code == 0, answer.err
        assert ("refinement" in {path.stem for path in plots.iterdir()}) is drawn


def test_one_crop_has_no_test_and_says_so(store: Path, tmp_path: Path) -> None:
    one, out = tmp_path / "one.parquet", tmp_path / "c.csv"
    rows = [row for row in read(store).to_pylist() if row["crop"] == "c1"]
    append(one, rows)
    answer = inside("select", "--store", one, "--out", out, "--plots", tmp_path / "p", *RULE)
    assert answer.code == 0 and "note: mito has one crop" in answer.err, answer.err
    assert {row["way"] for row in choices(out)} == {"validation"}
    assert [path.stem for path in (tmp_path / "p").iterdir()] == ["classes"]


def test_a_store_needs_a_class_and_a_crop_and_a_voxel_size(tmp_path: Path) -> None:
    mask, path = tmp_path / "m.npy", tmp_path / "s.parquet"
    np.save(mask, np.ones((4, 4, 4), np.uint8))
    first = ("evaluate", "--truth", mask, "--test", mask, "--out", tmp_path / "s.json")
    for more, line in (
        (("--store", path), "expected --label and --crop too"),
        (("--crop", "c1"), "--crop: is for --store"),
        (("--store", path, "--label", "a", "--crop", "b"), "give --voxel-size-nm"),
        (("--tolerance-nm", "nan"), "--tolerance-nm nan: expected 0 to 1e+09 nm"),
        (("--store", mask, "--label", "a", "--crop", "b"), "not a Parquet file"),
    ):
        answer = inside(*first, *more)
        assert answer.code == 2, answer.err
        assert line in answer.err.splitlines()[-1]
    assert not path.exists() and not (tmp_path / "s.json").exists()


def test_what_no_network_found_is_left_out_with_a_word_unless_it_was_named(
    store: Path, tmp_path: Path
) -> None:
    """And a group need not predict all classes."""
    many, out = tmp_path / "many.parquet", tmp_path / "choices.csv"
    rows = read(store).to_pylist()
    for label, metrics in (("er", ("dice", "mean_false_distance")), ("ecs", ("dice",))):
        rows += [
            row | {"label": label, "setup": "many", "value": row["value"] if label == "er" else 0.0}
            for row in read(store).to_pylist()
            if row["setup"] == "small" and row["metric"] in metrics
        ]
    append(many, rows)
    call = ("select", "--store", many, "--out", out, "--group", "one=small", "--group", "two=many")
    answer = inside(*call, *RULE)
    assert answer.code == 0 and "ecs: no prediction has a mean_false_distance" in answer.err
    found = {(row["group"], row["label"], row["metric"]) for row in choices(out)}
    both = [("dice",), ("mean_false_distance",)]
    assert {key for key in found if key[0] == "one"} == {("one", "mito", m) for (m,) in both}
    assert {key for key in found if key[0] == "two"} == {
        ("two", "er", "dice"), ("two", "er", "mean_false_distance"), ("two", "ecs", "dice"),
    }  # fmt: skip
    answer = inside(*call, *RULE, "--label", "ecs")
    assert answer.code == 2 and "no mean_false_distance" in answer.err


def test_networks_scored_at_fewer_crops_are_left_out_with_a_word(
    store: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "few.parquet", tmp_path / "choices.csv"
    append(path, [
        row for row in read(store).to_pylist()
        if (row["crop"], row["setup"], row["iteration"]) != ("c2", "small", 20)
    ])  # fmt: skip
    answer = inside("select", "--store", path, "--out", out, "--metric", "dice", *RULE)
    assert answer.code == 0
    assert "mito: 1 of 4 networks and iterations have a dice at fewer crops" in answer.err
    found = {(r["way"], r["crop"]): (r["setup"], r["iteration"]) for r in choices(out)}
    assert found["validation", "c1"] == ("small", "20") != found["test", "c1"]
    answer = inside("select", "--store", store, "--out", out, *RULE)
    assert answer.code == 0 and "fewer crops" not in answer.err


def test_a_store_of_other_lengths_says_what_was_expected(store: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "other.parquet", tmp_path / "choices.csv"
    rows = [row for row in read(store).to_pylist() if row["metric"] == "mean_false_distance"]
    assert rows
    append(path, rows)
    for metric, says in (
        ("voi", "no prediction has a voi: nothing can be chosen"),
        ("mean_false_distance_clipped",
         "no prediction has a mean_false_distance_clipped with clip_distance 200 nm: nothing"),
    ):  # fmt: skip
        answer = inside("select", "--store", path, "--out", out, "--metric", metric, *RULE)
        assert answer.code == 2 and says in answer.err, answer.err
    assert not out.exists()
