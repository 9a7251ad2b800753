"""`fibstream select --refine`: the chosen settings are a pipeline, whose labels were scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scipy import ndimage

from fibstream.app.pipelines import read_pipeline

from ..support.command import Answer, inside
from .test_evaluate import ngff

SIZE = 8.0
BALLS = [(12, 12, 12), (12, 24, 12), (12, 36, 14), (14, 12, 44), (13, 25, 44), (12, 36, 42),
         (12, 24, 76)]  # fmt: skip
SHAPE = (24, 48, 90)
GRID = (
    "--grid", "min_depth=0,4", "--grid", "quantile=25,75", "--grid", "merge_below=0.3,0.6,0.7,0.95",
    "--set", "smooth_nm=8", "--set", "min_volume_nm3=2e4",
)  # fmt: skip


def balls() -> tuple[Any, Any]:
    """Two rows of three balls that touch, and one with a hole: ids, and distances with noise."""
    apart = np.stack([sum((a - b) ** 2 for a, b in zip(np.indices(SHAPE), middle, strict=True))
                      for middle in BALLS])  # fmt: skip
    ids = np.where(apart.min(0) < 49, apart.argmin(0) + 1, 0).astype(np.uint16)
    noise = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE), 1.5) * 70
    inside_nm = SIZE * (6.8 - np.sqrt(apart.min(0))) + noise
    values = np.clip(np.round(128 * np.tanh(inside_nm / 50) + 127), 0, 255).astype(np.uint8)
    values[10:15, 22:27, 74:79] = 0
    return ids, values


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("balls")
    ids, values = balls()
    with zarr.config.set({"array.write_empty_chunks": True}):  # else each process warns once
        ngff(folder / "p.zarr", values, size=SIZE)
        ngff(folder / "truth.zarr", ids, size=SIZE)
    return folder


@pytest.fixture(scope="module")
def answer(folder: Path) -> Answer:
    answer = select(folder, *GRID)
    assert answer.code == 0, answer.err
    return answer


def select(folder: Path, *more: object, truth: object = None) -> Answer:
    return inside(
        "select", "--refine", "--prediction", f"mito={folder}/p.zarr",
        "--truth", truth or folder / "truth.zarr", "--out", folder / "chosen.yaml", *more,
    )  # fmt: skip


def rows(answer: Answer) -> dict[str, dict[str, float]]:
    """The marked row of the table, and those of the two recipes that it is compared with."""
    head, *lines = [line.split() for line in answer.out.splitlines()[:-1]]
    marked = [line for line in lines if line[0] == "*"]
    assert len(marked) == 1
    plain = lines[-1]
    scores = head[3:-1]
    return {
        "chosen": dict(zip(head, map(float, marked[0][1:]), strict=True)),
        plain[0]: dict(zip(scores, map(float, plain[1:]), strict=True)),
        lines[-2][0]: dict(zip(head[:-1], map(float, lines[-2][1:]), strict=True)),
    }


def evaluated(folder: Path, recipe: str, settings: dict[str, Any], out: Path) -> dict[str, Any]:
    """The scores of ``evaluate`` on what ``refine`` writes."""
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    refined = inside(
        "refine", "--prediction", f"mito={folder}/p.zarr", "--organelle", recipe, "--out", out,
        "--chunk", "10,20,30", *given,
    )  # fmt: skip
    assert refined.code == 0, refined.err
    answer = inside(
        "evaluate", "--truth", folder / "truth.zarr", "--test", f"{out}#labels/{recipe}",
        "--instances", "--out", out.with_suffix(".json"),
    )  # fmt: skip
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())["instances"]
    return found | {"objects": found["tp"] + found["fp"]}


def test_the_choice_is_what_refine_and_run_label(
    folder: Path, answer: Answer, tmp_path: Path
) -> None:
    """Also in other chunks than those that were scored; the same scores as of `evaluate`."""
    (made,) = read_pipeline(str(folder / "chosen.yaml")).organelles
    assert (made.name, made.recipe, made.inputs) == ("mito", "mito-hela-2", {"prediction": "mito"})
    row = rows(answer)["chosen"]
    assert {key: row[key] for key in ("min_depth", "quantile", "merge_below")}.items() <= (
        dict(made.set).items()
    )
    found = evaluated(folder, made.recipe, dict(made.set), tmp_path / "labels.zarr")
    scores = ("f1", "precision", "recall", "pq", "objects", "splits", "merges")
    assert [row[name] for name in scores] == [round(found[name], 4) for name in scores]
    assert found["tp"] + found["fn"] == len(BALLS)
    answer = inside(
        "run", "--raw", f"{folder}/p.zarr", "--pipeline", folder / "chosen.yaml",
        "--out", tmp_path / "cell.zarr", "--chunk", "24,48,50", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    refined, run = (
        zarr.open_array(tmp_path / place / "s0", mode="r")[:]
        for place in ("labels.zarr/labels/mito-hela-2", "cell.zarr/labels/mito")
    )
    assert np.array_equal(refined, run)


def test_what_is_compared_with_is_what_its_recipe_labels(
    folder: Path, answer: Answer, tmp_path: Path
) -> None:
    same = {"smooth_nm": 8, "min_volume_nm3": 2e4}
    scores = ("f1", "precision", "recall", "pq", "objects", "splits", "merges")
    for recipe, more in (("generic", {"fill_holes": "one", "min_rule": "ceil"}),
                         ("mito-hela-2", {})):  # fmt: skip
        found = evaluated(folder, recipe, same | more, tmp_path / f"{recipe}.zarr")
        row = rows(answer)[recipe]
        assert [row[name] for name in scores] == [round(found[name], 4) for name in scores]
    assert rows(answer)["generic"]["merges"] == 4  # each row of balls is one component
    f1 = [rows(answer)[name]["f1"] for name in ("chosen", "mito-hela-2", "generic")]
    assert f1 == sorted(set(f1), reverse=True)


def test_every_combination_is_in_the_table_and_the_best_is_chosen(answer: Answer) -> None:
    head, *lines = [line.split() for line in answer.out.splitlines()[:-1]]
    counts = [int(line[-1]) for line in lines[:-2]]
    assert sum(counts) == 2 * 2 * 4
    f1 = [float(line[head.index("f1") + (line[0] == "*")]) for line in lines[:-2]]
    assert f1 == sorted(f1, reverse=True) and len(set(f1)) > 2
    assert lines[0][0] == "*"


def test_another_score_may_choose_and_another_recipe_be_tried(folder: Path) -> None:
    answer = select(folder, "--organelle", "generic", "--metric", "pq",
                    "--grid", "threshold_nm=-20,8,12,16,30")  # fmt: skip
    assert answer.code == 0, answer.err
    head, first = (line.split() for line in answer.out.splitlines()[:2])
    assert head[0] == "threshold_nm" and first[0] == "*"
    pq = [float(line.split()[head.index("pq")]) for line in answer.out.splitlines()[2:-3]]
    assert max(pq) < float(first[1 + head.index("pq")])
    assert answer.err.count("chunks cut 1/1") == 6  # another threshold, another cut


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--grid", "quantile"), "--grid quantile: expected KEY=VALUE,VALUE"),
        (("--grid", "quantile=1", "--grid", "quantile=2"), "each KEY once"),
        (("--grid", "quantile=1,,2"), "quantile is None: expected a whole number from 0 to 100"),
        (("--grid", "h=1"), "recipe mito-hela-2: no setting 'h'"),
        (("--set", "quantile=1"), "setting quantile: is both tried and set"),
        (("--organelle", "mito"), "recipe mito: nothing to try; give --grid"),
        (("--organelle", "mitos"), "no recipe 'mitos'"),
        (("--metric", "dice"), "--metric dice: expected one of f1, pq"),
        (("--metric", "f1", "--metric", "pq"), "--metric pq: with --refine expected one"),
        (("--store", "s.parquet"), "--store: is not for select --refine"),
        (("--chunk", "0"), "--chunk '0': expected"),
        (("--out", "x.csv"), "--out x.csv: with --refine expected FILE.yaml"),
        (("--voxel-size-nm", "4"), "p.zarr"),
    ],
)
def test_wrong_words_are_one_line(folder: Path, words: tuple[str, ...], line: str) -> None:
    (folder / "chosen.yaml").unlink(missing_ok=True)
    answer = select(folder, *words)
    assert answer.code == 2 and line in answer.err and answer.err.count("\n") == 1, answer.err
    assert not (folder / "chosen.yaml").exists()


def test_a_call_of_the_other_kind_is_told_what_is_missing(tmp_path: Path) -> None:
    for words, line in (
        ((), "select: give --store FILE.parquet, or --refine"),
        (("--store", "s.parquet", "--grid", "a=1"), "--grid: is for select --refine"),
        (("--refine", "--truth", "t.npy"), "give --prediction CLASS=PATH and --truth PATH"),
    ):
        answer = inside("select", "--out", tmp_path / "c.yaml", *words)
        assert answer.code == 2 and line in answer.err and answer.err.count("\n") == 1, answer.err


def test_a_truth_that_cannot_be_scored_is_one_line(folder: Path, tmp_path: Path) -> None:
    ids, _ = balls()
    for n, (truth, more, line) in enumerate(
        (
            (ids[:-1], {}, "(23, 48, 90)"),
            (ids, {"size": 4.0}, "4 nm"),
            (ids, {"at": 80.0}, "expected the same place"),
            (ids * 0, {}, "holds nothing; expected labels with an id for each object"),
            ((ids > 0).astype(np.uint8), {}, "holds one id, as a mask; expected labels"),
            (ids.astype(np.float32), {}, "float32"),
            (-ids.astype(np.int32), {}, "holds the label -"),
        )
    ):
        path = ngff(tmp_path / f"{n}.zarr", truth, **({"size": SIZE} | more))
        (folder / "chosen.yaml").unlink(missing_ok=True)
        answer = select(folder, *GRID, truth=path)
        last = answer.err.splitlines()[-1]
        assert answer.code == 2 and line in last and str(path) in last, answer.err
        assert not (folder / "chosen.yaml").exists()


def test_where_nothing_agrees_nothing_is_chosen(folder: Path, tmp_path: Path) -> None:
    ids = np.zeros(SHAPE, np.uint16)
    ids[0, :2, :2] = [[1, 2], [3, 4]]
    path = ngff(tmp_path / "corner.zarr", ids, size=SIZE)
    (folder / "chosen.yaml").unlink(missing_ok=True)
    answer = select(folder, *GRID, truth=path)
    assert answer.code == 1 and answer.out.count("*") == 1
    assert f"no combination agrees with any object of {path}" in answer.err.splitlines()[-1]
    assert not (folder / "chosen.yaml").exists()


def test_masks_are_no_part_of_a_choice(folder: Path) -> None:
    answer = inside(
        "select", "--refine", "--prediction", f"mito={folder}/p.zarr,mask={folder}/truth.zarr",
        "--truth", folder / "truth.zarr", "--out", folder / "m.yaml",
    )  # fmt: skip
    assert answer.code == 2 and "expected one volume; masks are no part" in answer.err


def cropped(folder: Path, at: slice, first: int, *, size: float = SIZE) -> tuple[Path, Path]:
    """A prediction and a truth of some planes in x; ids count from 1 in each."""
    ids, values = balls()
    paths = folder / f"p{at.start}.zarr", folder / f"truth{at.start}.zarr"
    cut = ids[:, :, at]
    with zarr.config.set({"array.write_empty_chunks": True}):  # else it is told, in a line
        ngff(paths[0], values[:, :, at], size=size)
        ngff(paths[1], np.where(cut > 0, cut - np.uint16(first - 1), np.uint16(0)), size=size)
    return paths


def of_crops(crops: list[tuple[Path, Path]], out: Path, of: str = "mito", *more: str) -> Answer:
    words = [
        word for number, (prediction, truth) in enumerate(crops)
        for word in ("--prediction", f"{'mito' if number == 0 else of}={prediction}",
                     "--truth", truth)
    ]  # fmt: skip
    return inside("select", "--refine", *words, "--out", out, *(more or GRID))


def test_objects_of_several_crops_are_counted_together(tmp_path: Path) -> None:
    """The first crop has balls 1 to 3, the second the other four, as its ids 1 to 4."""
    crops = [cropped(tmp_path, slice(0, 28), 1), cropped(tmp_path, slice(28, 90), 4)]
    both = of_crops(crops, tmp_path / "both.yaml")
    assert both.code == 0, both.err
    assert "Scored on the 7 objects" in (tmp_path / "both.yaml").read_text()
    assert [str(truth) in (tmp_path / "both.yaml").read_text() for _, truth in crops] == [True] * 2
    alone = [of_crops([crop], tmp_path / f"{n}.yaml") for n, crop in enumerate(crops)]
    row, parts = rows(both)["generic"], [rows(each)["generic"] for each in alone]
    for counted in ("objects", "splits", "merges"):
        assert row[counted] == sum(part[counted] for part in parts)
    hits = [part["precision"] * part["objects"] for part in parts]
    assert row["recall"] == pytest.approx(sum(hits) / 7, abs=1e-3)
    assert parts[0]["recall"] != parts[1]["recall"]


def test_crops_that_cannot_be_counted_together_are_one_line(tmp_path: Path) -> None:
    crops = [cropped(tmp_path, slice(0, 28), 1), cropped(tmp_path, slice(28, 90), 4)]
    out = tmp_path / "c.yaml"
    finer = cropped(tmp_path, slice(29, 90), 4, size=4.0)
    for answer, line in (
        (of_crops([crops[0], finer], out), "voxel size in nm (4.0, 4.0, 4.0); expected that of"),
        (of_crops(crops, out, "er", "--organelle", "generic", "--grid", "threshold_nm=0,8"),
         "class er; expected that of the first, mito"),
        (inside("select", "--refine", "--prediction", f"mito={crops[0][0]}", "--truth", crops[0][1],
                "--truth", crops[1][1], "--out", out),
         "1 --prediction and 2 --truth; expected a --truth for each --prediction"),
    ):  # fmt: skip
        assert answer.code == 2 and line in answer.err and answer.err.count("\n") == 1, answer.err
        assert not out.exists()
