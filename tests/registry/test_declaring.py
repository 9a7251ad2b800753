"""Declaring services, words, recipes, stages and folds brings no compiler, format or runtime."""

import json
import os
import subprocess
import sys
from pathlib import Path

from fibstream import registry
from fibstream.core.dataset import Dataset, Model, Organelle, Prediction
from fibstream.services.refine.recipe import recipes, resolve

from ..support.engines import TinyEngine
from ..support.extras import SITE
from ..support.light import registration_of

HEAVY = ("numba", "cc3d", "pyarrow", "onnx", "onnxruntime", "scipy", "duckdb", "SimpleITK")
LABELS = {"mask": "of-generic", "parent": "of-mito"}  # of organelles, by the role that reads them
DECLARE = """
import json, sys
from pathlib import Path

from fibstream import registry
from fibstream.core.dataset import Dataset
from fibstream.services.refine.recipe import recipes
from fibstream.store.local import LocalFiles

dataset, files = Dataset.model_validate_json(sys.stdin.read()), LocalFiles(Path(sys.argv[1]))
services = registry.services()
found = {
    "words": list(registry.words()),
    "recipes": list(recipes()),
    "families": sorted({s.family for each in services for s in each.stages(dataset, files)}),
    "arrays": [a.output.name for each in services for a in each.arrays(dataset, files)],
    "folds": len([fold for each in services for fold in each.folds(dataset)]),
}
print(json.dumps(found))
"""


def dataset() -> Dataset:
    """Return a dataset with a stage of every family: an organelle a recipe, one of each word."""
    engine = TinyEngine(("mito",))
    model = Model(
        name="tiny", classes=("mito",), sha256=engine.spec.sha256,
        spec=engine.spec.model_dump(mode="json"), profile=dict(engine.profile),
    )  # fmt: skip
    organelles = tuple(
        Organelle(
            name=f"of-{recipe.name}", recipe=recipe.name,
            inputs={
                role.name: "mito" if role.kind == "prediction" else LABELS[role.name]
                for role in recipe.inputs
                if not role.optional
            },
            settings=resolve(recipe.name, {}).model_dump(mode="json"),
        )
        for recipe in recipes().values()
    )  # fmt: skip
    made = Dataset(
        name="cell", shape=(64, 64, 64), chunk=(32, 32, 32), dtype="uint8",
        voxel_size_nm=(8, 8, 8), contrast=(0, 255), models=(model,),
        predictions=(Prediction(name="mito", model="tiny", channel="mito"),),
        organelles=organelles,
    )  # fmt: skip
    word = registry.words()["contacts"]
    entry = word.entry.model_validate({"a": "of-mito", "b": "of-generic", "distance_nm": 10})
    steps = tuple(step.model_dump(mode="json") for step in word.resolve(made, [entry]))
    found = {"contacts": steps, "registration": (registration_of("mito"),)}
    return made.model_copy(update={"steps": found})


def without_heavy(
    folder: Path, *arguments: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Python where the heavy packages cannot be imported."""
    (folder / "sitecustomize.py").write_text(SITE.format(refused=HEAVY))
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": str(folder)}, input=given,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_all_is_declared_without_a_compiler_a_format_or_a_runtime(tmp_path: Path) -> None:
    run = without_heavy(tmp_path, "-c", DECLARE, str(tmp_path), given=dataset().model_dump_json())
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["words"] == list(registry.words())
    assert found["recipes"] == list(recipes())
    landed = {"stored", "mask"}  # its records are those of what lands: no stage has the family
    families = {family for service in registry.services() for family in service.families}
    assert found["families"] == sorted(families - landed)
    assert {"raw", "predictions/mito", "contacts/of-generic--of-mito"} <= set(found["arrays"])
    assert found["folds"] == len(recipes()) + 1


def test_what_computes_is_refused_there(tmp_path: Path) -> None:
    for module in ("services.refine.cut", "services.analysis.table", "kernels.contacts"):
        run = without_heavy(tmp_path, "-c", f"import fibstream.{module}")
        assert "not in this extra" in run.stderr, module
