"""Networks as people bring them: with weights in another file, of probabilities, undeclared."""

import onnx
import pytest

from ..inference.net import Graph, write_net
from ..support.command import inside
from ..support.scene import GEOMETRY, PIPELINE, bright


def sigmoid(graph: Graph) -> str:
    """Return the probability whose byte is that of the distance of ``bright``: (1 + t) / 2."""
    return graph.scaled(bright(graph), 0.5, 0.5)


@pytest.fixture
def run_with(scene, tmp_path):
    def run(model, name):
        pipeline = tmp_path / f"{name}.yaml"
        pipeline.write_text(PIPELINE.format(model=model))
        return inside(*scene.run(tmp_path / f"{name}.zarr", "--bus", "memory:", pipeline=pipeline))

    return run


def test_weights_in_another_file_are_taken_in(scene, truth, tmp_path, run_with) -> None:
    split = tmp_path / "bright.onnx"
    onnx.save(onnx.load(scene.model), split, save_as_external_data=True, size_threshold=0,
              location="bright.data")  # fmt: skip
    answer = run_with(split, "split")
    assert (answer.code, answer.hashes) == (0, truth)
    (kept,) = (tmp_path / "split.zarr" / "provenance" / "models").iterdir()
    assert kept.stat().st_size > split.stat().st_size - 500
    (tmp_path / "bright.data").unlink()
    assert "expected a file beside the model" in run_with(split, "gone").err
    onnx.checker.check_model(onnx.load(kept))


def test_a_probability_is_taken_for_one_and_nothing_for_a_distance(tmp_path, run_with) -> None:
    changes = {"head": None, "body": sigmoid, "channels": 1, **GEOMETRY, "scale_nm": None}
    undeclared = write_net(tmp_path / "plain.onnx", **changes, meaning=None)
    answer = run_with(undeclared, "plain")
    assert answer.code == 2
    assert answer.err.count("\n") == 1 and "is not declared; add meaning" in answer.err
    assert not (tmp_path / "plain.zarr").exists()
    declared = write_net(tmp_path / "p.onnx", **changes, meaning="probability")
    answer = run_with(declared, "p")
    distance = {"head": None, "body": bright, "channels": 1, **GEOMETRY}
    same = run_with(write_net(tmp_path / "d.onnx", **distance), "d")
    assert answer.code == same.code == 0
    assert answer.hashes == same.hashes


def test_a_stored_probability_has_no_threshold_in_nm(scene, tmp_path) -> None:
    """Its bytes are of no length: 50 nm, as of a distance that states none, would be a guess."""
    changes = {"head": None, "body": sigmoid, "channels": 1, **GEOMETRY, "scale_nm": None}
    net = write_net(tmp_path / "p.onnx", **changes, meaning="probability")
    stored, out = tmp_path / "p.zarr", tmp_path / "labels.zarr"
    assert inside("predict", "--raw", scene.raw, "--model", net, "--out", stored).code == 0
    refine = ("refine", "--prediction", f"mito={stored}", "--organelle", "generic", "--out", out)
    pipeline = tmp_path / "stored.yaml"
    text = "predictions: [{{name: p, from: {}}}]\norganelles: [{{recipe: generic, set: {{{}}}}}]"
    pipeline.write_text(text.format(stored, "threshold_nm: 10"))
    run = scene.run(tmp_path / "run.zarr", "--bus", "memory:", pipeline=pipeline)
    for command in ((*refine, "--set", "threshold_nm=10"), run):
        answer = inside(*command)
        assert answer.code == 2 and answer.err.count("\n") == 1
        assert "threshold_nm 10 needs a distance" in answer.err
    assert not out.exists() and not (tmp_path / "run.zarr").exists()
    assert inside(*refine).code == 0
    pipeline.write_text(text.format(stored, ""))
    assert inside(*run).code == 0
