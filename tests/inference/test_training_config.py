"""A configuration is read once; whatever is wrong in it is one line that names it."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from fibstream.core.errors import WrongUse
from fibstream.services.inference.training.config import MAX_BYTES, read_config
from fibstream.services.inference.training.crops import load

from ..support.command import inside
from .trained import configured, words, write_data


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "cell.npz")


def test_a_strategy_stands_for_its_classes(cell) -> None:
    assert len(configured(cell, classes="many").outputs) == 14


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, r"steps: .* greater than or equal to 1 \(got 0\)"),
        ({"steps": None}, "steps: Field required"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate: .*got 'fast'"),
        ({"name": "../up"}, "name"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"classes": "most"}, "strategy 'most': expected one of all, many, few/mito"),
        ({"classes": ["heart"]}, "class 'heart': expected some of ecs"),
        ({"classes": ["mito", "mito"]}, "occurs twice"),
        ({"patch": 15}, "patch 15: expected a multiple of 2"),
        ({"patch": 5000}, "patch: .* less than or equal to 512"),
        ({"network": {"widths": [12, 24], "factors": [2]}},
         r"widths\.0: .* multiple of 16 \(got 12\)"),
        ({"network": {"widths": [16, 32], "factors": [2, 2]}}, "2 widths need 1 factors"),
        ({"network": {"widths": [16, 32], "factors": [9]}}, "factors.0"),
        ({"network": {"widths": [16, 16], "factors": [4], "padding": "valid"}, "patch": 50},
         "no input yields 50 voxels; expected such as 48 or 52"),
        ({"network": {"widths": [16, 16], "factors": [2], "upsample": 2}}, "needs padding valid"),
        ({"network": {"widths": [16, 16], "factors": [2], "padding": "valid", "upsample": 2,
                      "stem": 2}}, "upsample and stem: expected one of them"),
        ({"network": {"widths": [16, 16], "factors": [2], "stem": 3}, "patch": 64},
         "patch 64: expected a multiple of 6"),
        ({"sharpen": 5}, "sharpen needs a network whose output is tanh"),
        ({"sharpen": 0.5}, "sharpen: "),
        ({"dice": 1}, "dice needs a network whose output is tanh"), ({"dice": -1}, "dice: "),
        ({"optimiser": "sgd"}, "optimiser: "),
        ({"simulated_nm": 20}, "network.upsample is 1, but raw is thinned out by 2"),
        ({"simulated_nm": 25}, "simulated_nm 25: expected 1 to 4 times voxel_size_nm"),
        ({"augment": {"contrast": [2, 1]}}, "augment: contrast 2,1: expected LOW,HIGH"),
        ({"augment": {"mirror": "yes"}}, "augment.mirror: .* boolean .*got 'yes'"),
        ({"augment": {"noise": "0.1"}}, "augment.noise: .*got '0.1'"),
        ({"classes": ["mito"] * 999}, "mito, 988 more: one occurs twice"),
        ({"classes": ["h" * 4000]}, r"class '[h.]{20,80}: expected some of ecs"),
        ({"keep_every": -1}, "keep_every"),
        ({"augment": {"gamma": [-1, 1]}}, "augment.gamma"),
        ({"augment": {"inversion": 2}}, "augment.inversion"),
        ({"betas": [0.9, 1.0]}, "betas"),
        ({"priority": {"er": 0.5}}, "priority 'er': expected some of mito"),
        ({"data": []}, "data: "),
        ({"data": [{"raw": "a.npz"}]}, "data.0.crops: Field required"),
        ({"data": [{"raw": "a.npz", "crops": [{}]}]}, "either labels, with a record, or masks"),
        ({"data": [{"raw": "a.npz", "crops": [{"labels": "b"}]}]}, "labels need a record"),
        ({"data": [{"phantom": [64, 64]}]}, "data.0.phantom"),
        ({"data": [{"raw": "a", "crops": [{"masks": {"mit": "b"}}]}]}, "class 'mit': expected"),
        ({"data": [{"raw": "a", "crops": [
            {"labels": "b", "record": "all", "annotated": {"heart": "c"}}]}]}, "class 'heart'"),
        ({"data": [{"raw": "a", "crops": [
            {"labels": "b", "record": "all", "separate": {"mito": "c"}}]}]},
         "separate mito: it is drawn among the labels, never apart"),
        ({"data": [{"raw": "a", "crops": [
            {"labels": "b", "record": "all", "separate": {"ribosomes": "c"},
             "annotated": {"ribosomes": "d"}}]}]}, "ribosomes: expected separate or annotated"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line(cell, tmp_path, changes, says) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(words(cell, **changes)))
    with pytest.raises(WrongUse, match=says) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[1, 2]", "expected a YAML mapping"), (b"a: [", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"", "expected a YAML mapping"),
        (b"a" * (MAX_BYTES + 1), "1000001 bytes; expected at most 1000000"),
        (b"&a [*a]", "expected no anchors"), (b"[" * 3000, "at most 16 deep"),
    ],
)  # fmt: skip
def test_another_file_is_one_line(tmp_path, text, says) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(text)
    with pytest.raises(WrongUse, match=says):
        read_config(path)
    with pytest.raises(WrongUse, match="No such file"):
        read_config(tmp_path / "none.yaml")


def test_wrong_data_are_one_line(cell, tmp_path) -> None:
    np.savez(tmp_path / "deep.npz", raw=np.zeros((30, 36, 40), np.uint16),
             voxel_size_nm_zyx=[10.0] * 3)  # fmt: skip
    np.savez(tmp_path / "ids.npz", fine=np.full((30, 36, 40), 40, np.uint8),
             voxel_size_nm_zyx=[10.0] * 3)  # fmt: skip
    crop = {"masks": {"mito": f"{cell}#mito"}}
    for entry, says in (
        ({"raw": f"{tmp_path}/deep.npz#raw", "crops": [crop]}, "is uint16: give contrast"),
        ({"raw": f"{cell}#raw", "contrast": [9, 9], "crops": [crop]}, "LOW below HIGH"),
        ({"raw": f"{cell}#raw", "contrast": [900, 1000], "crops": [crop]},
         "contrast 900,1000 makes one grey value of all around a crop"),
        ({"raw": f"{cell}#raw", "crops": [{"masks": {"mito": f"{cell}#raw"}}]},
         "no voxel is 0, and values differ: expected a mask of mito, 0 outside"),
        ({"raw": f"{cell}#none", "crops": [crop]}, "none"),
        ({"raw": f"{cell}#raw", "crops": [{**crop, "z": [9, 99]}]}, "slices within 0,30"),
        ({"raw": f"{cell}#raw", "crops": [{"labels": f"{tmp_path}/ids.npz#fine",
                                           "record": "all"}]}, "label 40; expected fine ids"),
        ({"raw": f"{cell}#raw", "crops": [{"labels": f"{cell}#fine",
                                           "record": {"drawn": [1]}}]}, "unknown list 'drawn'"),
        ({"raw": f"{cell}#raw", "crops": [
            {"labels": f"{cell}#fine", "record": {"present_annotated": [3, 35],
                                                  "absent_annotated": [4]}}]},
         "label 4 is drawn; the record has it in absent_annotated"),
        ({"phantom": [64, 64, 64], "look": "bright"}, "look bright: expected plain"),
        ({"phantom": [4, 4, 4]}, "extent"),
    ):  # fmt: skip
        config = configured(cell, data=[entry])
        with pytest.raises(WrongUse, match=says) as caught:
            load(config)
        assert "\n" not in str(caught.value)
    with pytest.raises(WrongUse, match="has voxels of 10,10,10 nm; the network is trained for 8"):
        load(configured(cell, voxel_size_nm=8))


def test_commands_refuse_before_anything_is_written(cell, tmp_path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(words(cell, steps=0)))
    for words_, says in (
        (("train", path, "--out", tmp_path / "net"), "steps"),
        (("train", path, "--describe", "--from", "mito"), "nothing is trained with --describe"),
        (("export", tmp_path, "--out", tmp_path / "net.pt"), "expected FILE.onnx"),
        (("export", tmp_path / "none.pt", "--out", tmp_path / "net.onnx"), "no such checkpoint"),
        (("export", path, "--out", tmp_path / "net.onnx"), "not a checkpoint of fibstream"),
    ):
        answer = inside(*words_)
        assert answer.code == 2 and says in answer.err and answer.err.count("\n") == 1, answer
    assert [p.name for p in tmp_path.iterdir()] == ["wrong.yaml"]
