"""A dataset keeps the profile of its networks, whatever a machine would choose now."""

from pathlib import Path

import numpy as np
import pytest

from fibstream.app.design import design
from fibstream.app.pipelines import parse_pipeline
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.services.inference.backend import Wanted
from fibstream.volumes.sources import open_volume

from ..inference.net import write_net


class Folder:
    """A volume and a network; each call designs the dataset that a run would make of them."""

    def __init__(self, path: Path) -> None:
        raw = np.random.default_rng(3).integers(0, 256, (20, 20, 20), np.uint8)
        np.save(path / "raw.npy", raw)
        self.raw = str(path / "raw.npy")
        net = write_net(path / "net.onnx")
        self.pipeline = parse_pipeline(f"models: [{net}]\norganelles: []\n", "p.yaml")

    def design(self, wanted: Wanted, there: Dataset | None = None) -> Dataset:
        source = open_volume(self.raw, kind="raw", voxel_size_nm=(8, 8, 8))
        return design("d", source, self.pipeline, wanted=wanted, there=there).dataset


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_run_that_goes_on_keeps_the_profile(folder: Folder) -> None:
    for backend in ("onnxruntime", "openvino"):
        there = folder.design(Wanted(backend))
        (kept,), (recorded,) = folder.design(Wanted(), there).models, there.models
        assert kept.profile == recorded.profile


def test_another_backend_is_taken_by_name_alone(folder: Folder) -> None:
    there = folder.design(Wanted("openvino"))
    (changed,) = folder.design(Wanted("onnxruntime"), there).models
    assert changed.profile["provider"] == "CPUExecutionProvider"


def test_a_machine_that_computes_other_bits_is_refused_with_the_way_out(folder: Folder) -> None:
    there = folder.design(Wanted("onnxruntime"))
    (model,) = there.models
    other = model.model_copy(update={"profile": {**model.profile, "runtime": "onnxruntime 1.0"}})
    with pytest.raises(WrongUse, match=r"does not reproduce .* 1\.0; name a --backend"):
        folder.design(Wanted(), there.model_copy(update={"models": (other,)}))
