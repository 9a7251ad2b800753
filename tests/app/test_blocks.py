"""What a task reads is bounded when a dataset is created, whatever its settings are in voxels."""

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.app.blocks import MAX_BLOCK, MAX_REACHED, check_blocks
from fibstream.app.naming import check_recipes, named_organelles, named_predictions, with_steps
from fibstream.app.pipelines import parse_pipeline
from fibstream.core.dataset import MAX_VOXEL_NM, MIN_VOXEL_NM, Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS, Index
from fibstream.registry import services, words
from fibstream.services.analysis.stages.contact_words import MAX_REACH
from fibstream.services.refine.rule import MAX_SIGMA

TEXT = """\
predictions: [{{name: er, squash_nm: 50}}]
organelles: [{{name: er, recipe: generic, set: {{smooth_nm: {smooth_nm}}}}}]
contacts: [{{a: er, b: er, distance_nm: {distance_nm}, name: near}}]
"""


def designed(
    chunk: Index, edge_nm: float, smooth_nm: float, distance_nm: float,
    absent_value: float | None = None,
) -> Dataset:  # fmt: skip
    """Return a dataset of services with one organelle and its contacts, as it is created."""
    text = TEXT.format(smooth_nm=smooth_nm, distance_nm=distance_nm)
    pipeline = parse_pipeline(text, "as sent")
    lands = {entry.name: entry.squash_nm for entry in pipeline.predictions}
    predictions = named_predictions(pipeline, [], lands)
    dataset = Dataset(
        name="x", shape=(None, MAX_AXIS, MAX_AXIS), chunk=chunk, dtype="uint16",
        voxel_size_nm=(edge_nm,) * 3, contrast=(0, 255), predictions=predictions,
        organelles=named_organelles(pipeline.organelles, predictions), absent_value=absent_value,
    )  # fmt: skip
    dataset = with_steps(dataset, pipeline, words())
    check_recipes(dataset)
    check_blocks(dataset)
    return dataset


@pytest.mark.parametrize("edge_nm", [MIN_VOXEL_NM, 8.0, 30.0])
@pytest.mark.parametrize("chunk", [(32, 32, 32), (512, 512, 512)])
def test_the_largest_settings_fit_at_any_voxel_size(chunk: Index, edge_nm: float) -> None:
    smooth_nm, distance_nm = MAX_SIGMA * edge_nm, (MAX_REACH - 1) * edge_nm
    designed(chunk, edge_nm, smooth_nm * (1 - 1e-12), distance_nm * (1 - 1e-12), 7)
    with pytest.raises(WrongUse, match="smooth_nm"):
        designed(chunk, edge_nm, smooth_nm * 1.01, 0)
    with pytest.raises(WrongUse, match="distance_nm"):
        designed(chunk, edge_nm, 0, distance_nm * 1.01)


def test_a_chunk_that_is_small_for_a_setting_is_refused_by_its_name() -> None:
    for given_nm, says in (
        ((100, 0), r"^organelle er \(smooth_nm 100\): a halo of 51 around a chunk of 4,4,4 is "),
        ((0, 240), r"^contacts near \(distance_nm 240\): a halo of 33 around a chunk of 4,4,4 is "),
    ):
        with pytest.raises(WrongUse, match=says) as caught:
            designed((4, 4, 4), 8, *given_nm)
        assert len(str(caught.value)) < 200
    designed((4, 4, 4), 8, 12, 10)


def test_a_halo_that_no_worker_holds_is_refused() -> None:
    """A network may have 511 voxels around 2 that it yields."""
    spec = {
        "name": "n", "classes": ["er"], "voxel_size_nm": [8, 8, 8], "halo": [511] * 3,
        "stride": [1] * 3, "tile": [1024] * 3, "sha256": "0",
    }  # fmt: skip
    model = {"name": "n", "classes": ["er"], "sha256": "0", "spec": spec, "profile": {}}
    fields: dict[str, Any] = {
        "name": "x", "shape": (None, MAX_AXIS, MAX_AXIS), "chunk": (512,) * 3, "dtype": "uint8",
        "voxel_size_nm": (8, 8, 8), "contrast": (0, 255), "models": [model],
    }  # fmt: skip
    with pytest.raises(WrongUse, match=r"^network n: a halo of 511 around .* 3609741304 voxels"):
        check_blocks(Dataset.model_validate(fields))


@settings(deadline=None, max_examples=100)
@given(
    chunk=st.tuples(*[st.integers(1, 512)] * 3),
    edge_nm=st.floats(MIN_VOXEL_NM, MAX_VOXEL_NM),
    sigma=st.floats(0, 40), reach=st.floats(0, 40),
)  # fmt: skip
def test_no_accepted_pipeline_reads_more(
    chunk: Index, edge_nm: float, sigma: float, reach: float
) -> None:
    try:
        dataset = designed(chunk, edge_nm, sigma * edge_nm, reach * edge_nm)
    except WrongUse as error:
        assert len(str(error)) < 200 and ("_nm" in str(error))
        return
    middle = tuple(10**6 // c for c in chunk)
    for service in services():
        for stage in service.stages(dataset, None):  # type: ignore[arg-type]
            for read in stage.inputs:
                if not read.dtype:
                    continue
                index = (middle[0], middle[1], middle[2])
                assert math.prod(dataset.grid.block(index, read.halo).shape) <= MAX_BLOCK
                reached = dataset.grid.reach(index, read.halo)
                assert sum(1 for _ in reached) <= MAX_REACHED


# The kernel's ru_maxrss begins at the peak of the process that started this one; VmHWM does not.
MEASURED = """
from pathlib import Path
import numpy as np
from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.services.refine.cut import cut_fragments
from fibstream.services.refine.rule import MAX_SIGMA, ObjectRule

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) << 10

def cut(chunk, sigma):
    rule = ObjectRule((sigma,) * 3, 127 * 128, 6, "one")
    core = Box((1000,) * 3, (1000 + chunk,) * 3)
    box = core.grow(rule.halo)
    image = np.random.default_rng(0).integers(0, 255, box.shape, np.uint8)
    before = peak()
    cut_fragments(Patch(image, box), core, rule)
    return peak() - before, image.size, chunk**3

cut(8, 1.0)
print(*cut(64, MAX_SIGMA))
"""


def test_a_worker_holds_no_more_than_the_limit_says() -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEASURED], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    peak, block, chunk = map(int, run.stdout.split())
    assert peak < 3 * block + 20 * chunk
