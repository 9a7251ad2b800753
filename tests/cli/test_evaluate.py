"""`fibstream evaluate` compares positions, and objects only with objects."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import tifffile
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from ..support.command import Answer, inside

Voxels = NDArray[Any]


def blobs(seed: int = 3, shape: tuple[int, int, int] = (12, 20, 28)) -> Voxels:
    """Return a mask of some pieces."""
    noise = np.random.default_rng(seed).random(shape)
    smooth = ndimage.uniform_filter(noise, 5)
    return (smooth > np.quantile(smooth, 0.7)).astype(np.uint8)


def ngff(
    path: Path, voxels: Voxels, *, size: float = 8.0, at: float | None = None, image: float = 0.0
) -> Path:
    """Write an OME-NGFF image at ``at`` nm along z, of the level and of the whole image."""
    group = zarr.create_group(path, zarr_format=2)
    array = group.create_array("s0", shape=voxels.shape, chunks=(8, 8, 8), dtype=voxels.dtype)
    array[:] = voxels
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": [size] * 3}]
    if at is not None:
        steps.append({"type": "translation", "translation": [at, 0.0, 0.0]})
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    entry: dict[str, Any] = {
        "version": "0.4", "axes": axes,
        "datasets": [{"path": "s0", "coordinateTransformations": steps}],
        "coordinateTransformations": [{"type": "translation", "translation": [image, 0.0, 0.0]}],
    }  # fmt: skip
    group.attrs.update({"multiscales": [entry]})
    return path


def n5(path: Path, voxels: Voxels, **attributes: Any) -> Path:
    """Write an N5 array with attributes, which lie x first."""
    spec = {
        "driver": "n5", "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {"dataType": str(voxels.dtype), "dimensions": voxels.shape[::-1],
                     "blockSize": [8, 8, 8], "compression": {"type": "raw"}},
    }  # fmt: skip
    tensorstore.open(spec, create=True).result().write(voxels.T).result()
    file = path / "attributes.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | attributes))
    return path


def evaluate(truth: object, test: object, out: Path, *more: object) -> tuple[Answer, Any]:
    """Call the command; return its answer and the scores it wrote, None if none."""
    out.unlink(missing_ok=True)
    answer = inside("evaluate", "--truth", truth, "--test", test, "--out", out, *more)
    return answer, json.loads(out.read_text()) if out.exists() else None


def dice(a: Voxels, b: Voxels) -> float:
    return float(2 * np.count_nonzero((a > 0) & (b > 0)) / ((a > 0).sum() + (b > 0).sum()))


def test_volumes_elsewhere_are_refused_in_one_line(tmp_path) -> None:
    mask, out = blobs(), tmp_path / "s.json"
    test = ngff(tmp_path / "test.zarr", mask)
    image = ngff(tmp_path / "image.zarr", mask, image=800)
    corner = n5(tmp_path / "t.n5", mask, resolution=[8, 8, 8], units=["nm"] * 3,
                offset=[25864, 900, 2400])  # fmt: skip
    centre = n5(tmp_path / "c.n5", mask, transform={
        "axes": ["x", "y", "z"], "units": ["nm"] * 3, "scale": [8, 8, 8], "translate": [0, 0, 960],
    })  # fmt: skip
    for truth in (ngff(tmp_path / "moved.zarr", mask, at=800), image, corner, centre):
        for pair in ((truth, test), (test, truth)):
            answer, scores = evaluate(*pair, out)
            assert (answer.code, scores) == (2, None), pair
            (line,) = (each for each in answer.err.splitlines() if each.startswith("fibstream:"))
            assert "have no voxel in common" in line or "--truth-at-nm" in line


def test_crops_are_compared_where_both_lie(tmp_path) -> None:
    whole, out = blobs(), tmp_path / "s.json"
    other = blobs(4)
    test = ngff(tmp_path / "test.zarr", other)
    crop = n5(tmp_path / "crop.n5", whole[4:10, 2:, :20], resolution=[8, 8, 8], units=["nm"] * 3,
              offset=[0, 16, 32])  # fmt: skip
    answer, scores = evaluate(crop, test, out)
    assert answer.code == 0, answer.err
    assert scores["dice"] == dice(whole[4:10, 2:, :20], other[4:10, 2:, :20])
    assert scores["compared"]["test_from"] == [4, 2, 0]
    assert answer.err.count("of it is compared") == 1 and "test.zarr#s0: 32.1 %" in answer.err
    tifffile.imwrite(tmp_path / "crop.tif", whole[4:10, 2:, :20])
    answer, scores = evaluate(tmp_path / "crop.tif", test, out)
    assert (answer.code, scores) == (2, None) and "crop.tif states no voxel size" in answer.err
    given = ("--voxel-size-nm", "8")
    answer, scores = evaluate(tmp_path / "crop.tif", test, out, *given)
    assert (answer.code, scores) == (2, None) and "--truth-at-nm" in answer.err
    place = ("--truth-at-nm", "32,16,0")
    answer, again = evaluate(tmp_path / "crop.tif", test, out, *given, *place)
    assert answer.code == 0 and again["dice"] == dice(whole[4:10, 2:, :20], other[4:10, 2:, :20])


def test_voxels_of_two_sizes_are_compared_on_the_finer_ones(tmp_path) -> None:
    coarse, out = blobs(), tmp_path / "s.json"
    fine = blobs(4, (24, 40, 56))
    expected = dice(fine, coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    truth = ngff(tmp_path / "truth.zarr", fine, size=4)
    for name, at in (("none", None), ("zero", 0.0), ("centre", 2.0)):
        test = ngff(tmp_path / f"{name}.zarr", coarse, at=at)
        answer, scores = evaluate(truth, test, out)
        assert answer.code == 0, answer.err
        assert scores["dice"] == expected and scores["compared"]["voxel_size_nm"] == [4, 4, 4]
    answer, scores = evaluate(truth, ngff(tmp_path / "odd.zarr", coarse, size=6), out)
    assert (answer.code, scores) == (2, None) and "whole multiples" in answer.err
    tifffile.imwrite(tmp_path / "fine.tif", fine)
    answer, scores = evaluate(tmp_path / "fine.tif", test, out, "--voxel-size-nm", "4")
    assert answer.code == 0 and scores["dice"] == expected
    answer, scores = evaluate(tmp_path / "fine.tif", test, out)
    assert (answer.code, scores) == (2, None) and "fine.tif states no voxel size" in answer.err


def test_a_mask_is_cut_into_its_pieces_before_objects_are_matched(tmp_path) -> None:
    out, test = tmp_path / "s.json", tmp_path / "test.npy"
    mask = blobs()
    labels = ndimage.label(mask)[0].astype(np.uint16)
    assert labels.max() > 3
    np.save(test, labels)
    for name, array in (("bool", mask > 0), ("bytes", mask), ("large", mask * np.uint8(255))):
        truth = tmp_path / f"{name}.npy"
        np.save(truth, array)
        for pair, side in (((truth, test), "truth"), ((test, truth), "test")):
            answer, scores = evaluate(*pair, out, "--instances")
            assert answer.code == 0, answer.err
            found = scores["instances"]
            assert found["f1"] == found["sq"] == 1.0 and found["tp"] == labels.max()
            assert found["pieces_of"] == [side]
            line = f"{truth} has one number for all objects: its {labels.max()} connected pieces"
            assert line in answer.err
    np.save(truth, labels == 2)
    answer, scores = evaluate(truth, truth, out, "--instances")  # one object is one piece
    assert scores["instances"]["tp"] == 1 and "pieces are" not in answer.err


def test_objects_of_a_prediction_are_pieces_above_the_threshold(tmp_path) -> None:
    out = tmp_path / "s.json"
    labels = ndimage.label(blobs())[0].astype(np.uint16)
    grey = np.where(labels > 0, 127 + labels % 90, 100).astype(np.uint8)
    np.save(tmp_path / "truth.npy", labels)
    np.save(tmp_path / "grey.npy", grey)
    given = ("--threshold", 127, "--instances")
    answer, scores = evaluate(tmp_path / "truth.npy", tmp_path / "grey.npy", out, *given)
    assert answer.code == 0 and scores["instances"]["f1"] == 1.0
    assert scores["instances"]["pieces_of"] == ["test"]
    np.save(tmp_path / "mask.npy", labels > 0)
    answer, scores = evaluate(tmp_path / "mask.npy", tmp_path / "grey.npy", out, *given)
    assert scores["instances"]["f1"] == 1.0
    assert scores["instances"]["pieces_of"] == ["truth", "test"]
    size = ("--voxel-size-nm", 8)
    for name in ("predictions", "other"):  # whatever its path is
        folder = ngff(tmp_path / name, grey, size=8)
        answer, scores = evaluate(tmp_path / "truth.npy", folder, out, *size)
        assert (answer.code, scores) == (2, None)
        assert "give --threshold for a prediction" in answer.err and "--instances" in answer.err
    answer, scores = evaluate(tmp_path / "truth.npy", folder, out, *size, "--threshold", 127)
    assert answer.code == 0 and scores["dice"] == 1.0


def test_what_metadata_declare_is_what_is_scored(tmp_path) -> None:
    """A path says nothing: a mask may lie below ``predictions``, ids of uint8 anywhere."""
    mask, out = blobs(), tmp_path / "s.json"
    ids = (mask * (1 + np.arange(mask.size).reshape(mask.shape) % 9)).astype(np.uint8)
    np.save(tmp_path / "truth.npy", mask)
    truth, size = tmp_path / "truth.npy", ("--voxel-size-nm", 8)
    assert evaluate(truth, ngff(tmp_path / "predictions", mask), out, *size)[1]["dice"] == 1
    test = ngff(tmp_path / "labels", ids)
    assert evaluate(truth, test, out, *size)[0].code == 2
    assert evaluate(truth, test, out, *size, "--instances")[1]["dice"] == 1
    group = zarr.open_group(test)
    group.attrs["image-label"] = {}
    assert evaluate(truth, test, out, *size)[1]["dice"] == 1
    del group.attrs["image-label"]
    group.attrs["squash_nm"] = 50
    for more in ((), ("--instances",)):
        answer = evaluate(truth, test, out, *size, *more)[0]
        assert answer.code == 2 and "states that it is a prediction: give --thr" in answer.err
    answer = evaluate(test, truth, out, *size)[0]
    assert answer.code == 2 and "expected labels as truth" in answer.err
    np.save(tmp_path / "wide.npy", ids.astype(np.uint16))
    assert evaluate(truth, tmp_path / "wide.npy", out)[1]["dice"] == 1
    np.save(tmp_path / "real.npy", ids / np.float32(9))
    assert evaluate(truth, tmp_path / "real.npy", out)[0].code == 2


def test_bytes_of_the_other_scale_are_converted_before_the_threshold(tmp_path) -> None:
    """Where ``safe_scale`` is stated 128 is the surface: 127 lies outside."""
    mask, out = blobs(), tmp_path / "s.json"
    np.save(tmp_path / "truth.npy", mask)
    test = n5(tmp_path / "p.n5", 127 + mask, resolution=[8] * 3, units=["nm"] * 3, offset=[0] * 3,
              safe_scale=True)  # fmt: skip
    answer, scores = evaluate(tmp_path / "truth.npy", test, out, "--threshold", 127)
    assert answer.code == 0 and scores["dice"] == 1.0


def test_a_given_voxel_size_is_that_of_a_volume(tmp_path) -> None:
    volumes = [ngff(tmp_path / name, blobs()) for name in ("a.zarr", "b.zarr")]
    out = tmp_path / "s.json"
    assert evaluate(*volumes, out, "--voxel-size-nm", 8)[0].code == 0
    answer, scores = evaluate(*volumes, out, "--voxel-size-nm", 5)
    assert (answer.code, scores) == (2, None) and "--voxel-size-nm 5,5,5: " in answer.err


def test_grey_values_without_a_threshold_are_named(tmp_path) -> None:
    np.save(tmp_path / "mask.npy", blobs())
    np.save(tmp_path / "grey.npy", blobs() + np.uint8(90))
    answer, scores = evaluate(tmp_path / "mask.npy", tmp_path / "grey.npy", tmp_path / "s.json")
    assert answer.code == 2 and "grey.npy is uint8, and nothing states what it holds" in answer.err
    np.save(tmp_path / "grey.npy", blobs().astype(np.uint16) + 90)
    answer, scores = evaluate(tmp_path / "mask.npy", tmp_path / "grey.npy", tmp_path / "s.json")
    assert scores["recall"] == 1.0 and "grey.npy: 100 % of it counts as inside" in answer.err
    answer, _ = evaluate(tmp_path / "mask.npy", tmp_path / "mask.npy", tmp_path / "s.json")
    assert "counts as inside" not in answer.err


@pytest.mark.parametrize("text", ["1", "1,2", "a,b,c", "1,2,nan", "1,2,inf", "1_0,2,3", ""])
def test_a_wrong_place_is_refused(tmp_path, text: str) -> None:
    np.save(tmp_path / "a.npy", blobs())
    answer, scores = evaluate(tmp_path / "a.npy", tmp_path / "a.npy", tmp_path / "s.json",
                              f"--truth-at-nm={text}")  # fmt: skip
    assert (answer.code, scores) == (2, None) and "expected three numbers Z,Y,X" in answer.err


def test_measure_and_refine_take_volumes_of_one_place(tmp_path) -> None:
    mask, out = blobs(), tmp_path / "t.csv"
    labels, near = ngff(tmp_path / "labels.zarr", mask), ngff(tmp_path / "near.zarr", mask, at=4)
    far = ngff(tmp_path / "far.zarr", mask, at=800)
    answer = inside("measure", "--labels", labels, "--raw", far, "--out", out)
    assert answer.code == 2 and "expected the same place" in answer.err and not out.exists()
    assert inside("measure", "--labels", labels, "--raw", near, "--out", out).code == 0
    np.save(tmp_path / "raw.npy", mask)
    assert inside("measure", "--labels", far, "--raw", tmp_path / "raw.npy", "--out", out).code == 0


@pytest.mark.parametrize("threshold", [0, -5, 256, "nan", "inf"])
def test_a_threshold_that_divides_no_bytes_is_refused(tmp_path, threshold) -> None:
    mask, out = tmp_path / "mask.npy", tmp_path / "scores.json"
    np.save(mask, blobs())
    answer, scores = evaluate(mask, mask, out, "--threshold", threshold)
    assert (answer.code, scores) == (2, None)
    assert f"--threshold {threshold}: " in answer.err


def test_probabilities_are_divided_by_a_fraction(tmp_path) -> None:
    mask, out = tmp_path / "mask.npy", tmp_path / "scores.json"
    np.save(mask, blobs())
    np.save(tmp_path / "p.npy", np.where(blobs(), 0.5, 0.49).astype(np.float32))
    answer, scores = evaluate(mask, tmp_path / "p.npy", out, "--threshold", 0.5)
    assert (answer.code, scores["dice"]) == (0, 1.0)
    answer, scores = evaluate(mask, tmp_path / "p.npy", out, "--threshold", 1)
    assert (answer.code, scores["dice"]) == (0, 0.0)
    assert "p.npy: nothing of it counts as inside" in answer.err


def test_only_what_is_annotated_is_scored(tmp_path) -> None:
    truth, test, out = blobs(), blobs(4), tmp_path / "s.json"
    annotated = np.zeros_like(truth)
    annotated[2:9, 3:, :20] = 1
    paths = [ngff(tmp_path / f"{n}.zarr", v) for n, v in enumerate((truth, test, annotated))]
    answer, scores = evaluate(*paths[:2], out, "--mask", paths[2], "--instances")
    assert answer.code == 0, answer.err
    inside = [v[2:9, 3:, :20] for v in (truth, test)]
    crops = [ngff(tmp_path / f"c{n}.zarr", v) for n, v in enumerate(inside)]
    answer, cut = evaluate(*crops, out, "--instances")
    assert scores["dice"] == scores["metrics"]["dice"] == dice(*inside)
    assert scores["metrics"] == cut["metrics"] and len(scores["metrics"]) == 21
    assert scores["tn"] == cut["tn"] and scores["instances"] == cut["instances"]
    nothing = ngff(tmp_path / "nothing.zarr", np.zeros_like(truth))
    answer, scores = evaluate(*paths[:2], out, "--mask", nothing)
    assert (answer.code, scores) == (2, None) and "no voxel that is compared is" in answer.err
    moved = ngff(tmp_path / "moved.zarr", annotated, at=800)
    answer, scores = evaluate(*paths[:2], out, "--mask", moved)
    assert (answer.code, scores) == (2, None) and "expected the same place" in answer.err


def test_a_class_of_fine_ids_is_a_truth_where_somebody_drew(tmp_path) -> None:
    rng, out = np.random.default_rng(5), tmp_path / "s.json"
    fine = rng.integers(0, 8, (12, 20, 28)).astype(np.uint16)
    test = blobs(4)
    paths = [ngff(tmp_path / f"{n}.zarr", v) for n, v in enumerate((fine, test))]
    answer, scores = evaluate(*paths, out, "--class", "mito")
    mito, drawn = np.isin(fine, (3, 4, 5)), fine > 0
    assert answer.code == 0 and scores["dice"] == dice(mito, test * drawn)
    plain = [ngff(tmp_path / f"p{n}.zarr", v.astype(np.uint8)) for n, v in enumerate((mito, drawn))]
    assert evaluate(plain[0], paths[1], out, "--mask", plain[1])[1] == scores
    part = np.zeros_like(test)
    part[3:9] = 1
    mask = ngff(tmp_path / "part.zarr", part)
    scores = evaluate(*paths, out, "--class", "mito", "--mask", mask)[1]
    assert scores["dice"] == dice(mito[3:9], (test * drawn)[3:9])
    assert evaluate(*paths, out, "--class", "mitos")[0].code == 2
    assert "no objects" in evaluate(*paths, out, "--class", "mito", "--instances")[0].err
    answer, _ = evaluate(*paths, out, "--class", "mito")
    assert "no " not in answer.err  # each of its ids occurs
    part_of = ngff(tmp_path / "three.zarr", np.where(fine == 3, 0, fine))
    assert (
        "of the ids 3, 4, 5 no 3 occurs"
        in evaluate(part_of, paths[1], out, "--class", "mito")[0].err
    )
    told = evaluate(part_of, paths[1], out, "--class", "mito", "--mask", mask)[0].err
    assert "occurs" not in told  # the mask says where
    real = ngff(tmp_path / "real.zarr", fine.astype(np.float32))
    answer, scores = evaluate(real, paths[1], out, "--class", "mito")
    assert (answer.code, scores) == (2, None) and "is float32; expected fine ids" in answer.err
    store = (
        "--store",
        tmp_path / "scores.parquet",
        "--crop",
        "c1",
        "--setup",
        "a",
        "--iteration",
        1,
    )
    answer, scores = evaluate(*paths, out, "--class", "mito", *store, "--label", "er")
    assert (answer.code, scores) == (2, None) and "the truth is of --class mito" in answer.err
    assert evaluate(*paths, out, "--class", "mito", *store)[0].code == 0  # its label is the class
    assert evaluate(*paths, out, "--class", "mito", *store)[0].code == 0  # again
    answer, scores = evaluate(*paths, out, "--class", "mito", "--mask", mask, *store)
    assert (answer.code, scores) == (2, None) and "expected another name for" in answer.err
    many = ngff(tmp_path / "many.zarr", fine * 10)
    answer, scores = evaluate(many, paths[1], out, "--class", "mito")
    assert (answer.code, scores) == (
        2,
        None,
    ) and "expected fine ids, 0 to 37, of --class" in answer.err


def test_distances_need_a_voxel_size(tmp_path) -> None:
    out = tmp_path / "s.json"
    np.save(tmp_path / "m.npy", blobs())
    answer, scores = evaluate(tmp_path / "m.npy", tmp_path / "m.npy", out)
    assert answer.code == 0 and scores["metrics"] == {} and scores["dice"] == 1
    assert "no metrics of distance without a voxel size" in answer.err
    answer, scores = evaluate(tmp_path / "m.npy", tmp_path / "m.npy", out, "--voxel-size-nm", "8")
    assert scores["metrics"]["hausdorff"] == 0
