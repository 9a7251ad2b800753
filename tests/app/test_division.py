"""What became of components: what is shown and scored is what the recipe made, voxel by voxel."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fibstream.app.colours import UNKNOWN
from fibstream.app.division.divided import Divided, before_and_after, open_divided
from fibstream.app.division.drawn import draw_division
from fibstream.app.division.picture import TOP, WIDE, _key, counted, keyed, score_lines, truth_keys
from fibstream.app.division.plane import (
    LEAST,
    WINDOW,
    candidates,
    chosen_component,
    touching_most,
)
from fibstream.app.drawing import GAP, TITLE
from fibstream.app.folder import open_dataset
from fibstream.app.report import write_report
from fibstream.app.rows import colouring, rows_of
from fibstream.app.truths import open_truths
from fibstream.core.grid import Box
from fibstream.kernels.scores import count_pairs, instance_scores
from fibstream.kernels.watershed.traced import LEVELS
from fibstream.volumes.sources import open_volume

from ..support.command import inside
from ..support.scene import SHAPE, save

Ids = NDArray[np.uint64]
VOLUME = Box((0, 0, 0), SHAPE)
BALLS = (  # centre (z, y, x), radius and object: three that touch, two, one of two, a small one
    (10, 12, 10, 7, 1), (11, 13, 22, 7, 2), (12, 14, 34, 7, 3), (26, 30, 12, 7, 4),
    (26, 31, 24, 7, 5), (27, 16, 42, 6, 6), (27, 21, 43, 6, 6), (5, 38, 47, 2, 7),
)  # fmt: skip
SMALL_NM3 = 100 * 8.0**3
PIPELINE = """\
predictions:
  - {{name: mito, from: {0}/truth.npz#raw, as: distance}}
organelles:
  - {{recipe: agglomerated, name: mito, from: mito, set: {{quantile: 50, merge_below: 0.74,
      min_volume_nm3: {1}}}}}
  - {{recipe: generic, name: plain, from: mito}}
"""


def balls() -> Ids:
    """Return the truth: the object of each ball, of the nearest one where they overlap."""
    where = np.moveaxis(np.indices(SHAPE), 0, -1)
    gaps = np.array([np.linalg.norm(where - b[:3], axis=-1) - b[3] for b in BALLS])
    numbers = np.array([b[4] for b in BALLS], np.uint64)
    return np.where(gaps.min(0) <= 0, numbers[gaps.argmin(0)], np.uint64(0))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("division")
    save(folder / "truth.npz", balls())
    noise = np.random.default_rng(1).normal(0, 20, SHAPE)
    save(folder / "raw.npz", np.clip(150 - 60 * (balls() > 0) + noise, 1, 255).astype(np.uint8))
    (folder / "p.yaml").write_text(PIPELINE.format(folder, SMALL_NM3))
    answer = inside(
        "run", "--raw", f"{folder}/raw.npz#raw", "--pipeline", folder / "p.yaml", "--out",
        folder / "cell.zarr", "--chunk", "20,24,28", "--bus", "memory:",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    return folder / "cell.zarr"


def opened(out: Path, name: str = "mito") -> Divided:
    files, dataset = open_dataset(out)
    ids = [row["id"] for row in rows_of(out / f"tables/{name}.parquet")]
    found = open_divided(out, dataset, files, name, ids)
    assert found is not None
    return found


def labels(out: Path, name: str = "mito") -> Ids:
    with closing(open_volume(f"{out}#labels/{name}", kind="labels")) as source:
        return source.read(VOLUME)


def test_objects_are_those_that_were_stored_and_components_those_of_the_mask(out: Path) -> None:
    with closing(opened(out)) as divided:
        made = {level: divided.read(VOLUME, level) for level in LEVELS}
        part = Box((3, 5, 20), (25, 31, 29))
        for level, whole in made.items():
            assert np.array_equal(divided.read(part, level), whole[part.slices()]), level
    stored, mask = labels(out), made["component"] > 0
    assert np.array_equal(np.where(np.isin(made["object"], list(divided.objects)),
                                   made["object"], 0), stored)  # fmt: skip
    pieces, count = ndimage.label(balls() > 0)
    large = np.isin(pieces, [n for n in range(1, count + 1) if (pieces == n).sum() >= 100])
    assert count == 4 and np.array_equal(mask, large)
    assert len(np.unique(np.stack([pieces[mask], made["component"][mask]]), axis=1).T) == 3
    fragments = {
        c: len(np.unique(made["fragment"][made["component"] == c])) for c in divided.shares
    }
    assert fragments == {c: shares.fragments for c, shares in divided.shares.items()}
    assert divided.fragments == sum(fragments.values()) > len(divided.objects) == 6


def test_the_component_with_most_objects_is_chosen(out: Path) -> None:
    with closing(opened(out)) as divided:
        at_three = int(divided.read(VOLUME, "component")[11, 13, 22])
        assert chosen_component(divided) == at_three
        assert len(divided.shares[at_three].objects) == 3
        assert sorted(len(s.objects) for s in divided.shares.values()) == [1, 2, 3]


def test_of_components_with_as_many_objects_the_largest_then_the_first_is_chosen(
    out: Path,
) -> None:
    with closing(opened(out)) as divided:
        ids = list(divided.shares)
        divided.shares = {c: divided.shares[c]._replace(objects=(1,)) for c in ids}
        sizes = divided.voxels[0]
        assert chosen_component(divided) == max(ids, key=lambda c: sizes[c])
        for c in ids:
            sizes[c] = 5
        assert chosen_component(divided) == min(ids)
        divided.shares = {c: divided.shares[c]._replace(objects=()) for c in ids}
        assert chosen_component(divided) is None


def test_a_recipe_that_divides_nothing_has_no_picture(out: Path) -> None:
    files, dataset = open_dataset(out)
    assert open_divided(out, dataset, files, "plain", []) is None
    assert open_divided(out, dataset, files, "mito--plain", []) is None


# -- planes ----------------------------------------------------------------------------------------


def test_planes_cut_the_boxes_of_most_objects() -> None:
    low = np.array([[0, 0, 0], [4, 50, 0], [6, 80, 150]])
    high = np.array([[9, 20, 60], [7, 70, 90], [30, 99, 199]])
    found = candidates(low, high, (40, 100, 200))
    assert {plane.axis for plane in found} == {0}  # all three at z = 6 and 7, across x and y fewer
    assert [plane.box.start[0] for plane in found] == [7, 6]
    for plane in found:
        assert plane.box.shape[0] == 1
        assert plane.box.start[1:] == (0, 0) and plane.box.stop[1:] == (100, 200)


def test_a_window_lies_around_the_objects_and_is_bounded() -> None:
    (plane, *_) = candidates(np.array([[5, 300, 400]]), np.array([[9, 319, 419]]), (50, 900, 2000))
    assert plane.box.shape == (1, LEAST, LEAST)
    assert plane.box.start == (7, 278, 378)
    wide = candidates(np.array([[0, 0, 0]]), np.array([[9, 899, 1999]]), (10, 900, 2000))
    assert {max(plane.box.shape) for plane in wide} <= {WINDOW}
    assert len(wide) == 10 + 16 + 16


def test_the_plane_in_which_objects_touch_most_is_shown() -> None:
    shape = (1, 40, 40)
    volume = np.zeros((3, 40, 40), np.uint64)
    volume[:, 5:15], volume[:, 20:30] = 1, 2
    volume[2] = 0  # here they are small, and touch
    volume[2, 10:15, 3:9], volume[2, 15:20, 3:9] = 1, 2
    planes = candidates(np.array([[0, 5, 0], [0, 15, 0]]), np.array([[2, 14, 39], [2, 29, 39]]),
                        (3, 40, 40))  # fmt: skip
    chosen = touching_most(planes, lambda box: volume[box.slices()])
    assert (chosen.axis, chosen.box.start[0], chosen.box.shape) == (0, 2, shape)
    assert touching_most(planes, lambda box: np.ones(box.shape, np.uint64)) == planes[0]


# -- colours ---------------------------------------------------------------------------------------


def test_one_colour_is_one_set_of_voxels(out: Path) -> None:
    with closing(opened(out)) as divided:
        seen = [divided.read(VOLUME, level) for level in LEVELS[:2]] + [labels(out)]
        keys = keyed(seen, divided)
    sets: dict[int, NDArray[np.bool_]] = {}
    for ids in keys:
        for key in np.unique(ids[ids > 0]).tolist():
            assert np.array_equal(sets.setdefault(key, ids == key), ids == key)
    distinct = {mask.tobytes() for mask in sets.values()}
    assert len(distinct) == len(sets)
    alone = labels(out)[27, 16, 42]  # a component that is one object
    assert keys[0][27, 16, 42] == keys[2][27, 16, 42] == alone
    assert keys[0][10, 12, 10] not in keys[2] and keys[0][10, 12, 10] not in keys[1]


def test_a_component_and_its_first_fragment_are_two_sets_beside_an_object() -> None:
    """All three may begin at one voxel."""
    three = {5, _key(5, 0, same=False), _key(5, 1, same=False)}
    assert len(three) == 3 and all(key == 5 or key >= TOP for key in three)
    assert _key(5, 1, same=True) == 5 and _key(0, 0, same=False) == 0


def test_truth_has_the_colour_of_the_object_that_it_matches() -> None:
    truth = np.array([[7, 7, 7, 7, 0, 8, 8, 8, 9]], np.uint64)
    objects = np.array([[0, 5, 5, 5, 5, 3, 0, 0, 0]], np.uint64)
    keys = truth_keys(truth, objects)
    assert keys[0, :4].tolist() == [5] * 4  # an IoU of 3/5
    assert keys[0, 4] == 0
    assert len({5, 3, 0, *keys[0, 5:].tolist()}) == 5 and (keys[0, 5:8] == keys[0, 5]).all()


# -- scores and pages ------------------------------------------------------------------------------


def test_scores_are_those_of_components_and_of_labels(out: Path) -> None:
    _, dataset = open_dataset(out)
    truth = open_truths({"mito": f"{out.parent}/truth.npz#raw"}, dataset, ["mito"])["mito"]
    with closing(opened(out)) as divided:
        found = before_and_after(divided, out / "labels/mito", truth)
        components = divided.read(VOLUME, "component")
    pairs = [count_pairs(balls(), each) for each in (components, labels(out))]
    assert found == tuple(map(instance_scores, pairs))
    assert found is not None
    assert [scores["merges"] for scores in found] == [3, 0]
    assert found[1]["f1"] > found[0]["f1"]
    lines = score_lines(found[0])
    assert lines[1] == "0 splits, 3 merges; 7 objects of the truth"
    assert lines[0] == f"F1 {found[0]['f1']:.3f}, precision {1 / 3:.3f}, recall {1 / 7:.3f}"


def test_a_mask_as_truth_has_no_scores_of_objects(out: Path) -> None:
    _, dataset = open_dataset(out)
    save(out.parent / "mask.npz", (balls() > 0).astype(np.uint8))
    truth = open_truths({"mito": f"{out.parent}/mask.npz#raw"}, dataset, ["mito"])["mito"]
    with closing(opened(out)) as divided:
        assert before_and_after(divided, out / "labels/mito", truth) is None


def test_the_report_shows_it_with_the_colours_of_objects(out: Path, tmp_path: Path) -> None:
    _, dataset = open_dataset(out)
    truths = {"mito": f"{out.parent}/truth.npz#raw"}
    page = write_report(out, tmp_path, truths=truths, edge=60).page.read_text("utf-8")
    assert page.count("components, fragments and objects in one plane") == 1
    assert not (tmp_path / "plain-division.png").exists()
    image = np.asarray(Image.open(tmp_path / "mito-division.png")).astype(int)
    assert image.shape[1] == GAP + 3 * (WIDE + GAP)
    rows = rows_of(out / "tables/mito.parquet")
    colours = colouring(rows, dataset)(np.array([row["id"] for row in rows], np.uint64))
    panels = [
        image[2 * TITLE : 2 * TITLE + 200, GAP + n * (WIDE + GAP) :][:, :WIDE] for n in range(3)
    ]
    close = [
        [(np.abs(panel - colour).max(-1) <= 2).sum() for colour in colours] for panel in panels
    ]
    # Borders between objects are drawn in their own colours; of the three, in the last panel alone.
    assert Counter(n > 0 for n in close[2])[True] >= 2
    assert all(a <= c for a, c in zip(close[0], close[2], strict=True))


def test_a_growing_dataset_without_a_table_has_no_picture(out: Path) -> None:
    files, dataset = open_dataset(out)
    assert draw_division(out, dataset, files, "mito", [], UNKNOWN) is None


def test_numbers_have_their_words() -> None:
    assert [counted(n, "split") for n in (0, 1, 12345)] == ["0 splits", "1 split", "12,345 splits"]
