"""The manifests as an operator gets them: written by the program, rendered by kustomize."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("local", "production", "backfill")
REQUIRED = "FIBSTREAM_REQUIRE_DEPLOY"  # what is missing is then a failure, not a skip

Document = dict[str, Any]


def needed(*programs: str) -> str:
    """Return the first of these programs that is there; skip the test where none is."""
    for program in programs:
        if found := shutil.which(program):
            return found
    reason = f"needs {' or '.join(programs)}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def render(folder: Path) -> list[Document]:
    """Return the resources of one overlay."""
    program = needed("kubectl", "kustomize")
    words = ["kustomize"] if program.endswith("kubectl") else ["build"]
    found = subprocess.run(
        [program, *words, str(folder)], check=True, capture_output=True, text=True
    )
    assert not found.stderr, found.stderr  # deprecated words
    return [document for document in yaml.load_all(found.stdout, yaml.CSafeLoader) if document]


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``python -m deploy.manifests`` writes."""
    folder = tmp_path_factory.mktemp("manifests") / "k8s"
    subprocess.run([sys.executable, "-m", "deploy.manifests", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def rendered(manifests: Path) -> Iterator[dict[str, list[Document]]]:
    """The resources of every overlay, and of the kinds of GPU that none of them has."""
    found = {name: render(manifests / "overlays" / name) for name in OVERLAYS}
    for kind in ("gpu-mig", "gpu-time-slicing"):
        folder = manifests / "overlays" / kind
        folder.mkdir()
        listed = {"namespace": "fibstream", "resources": ["../../base"],
                  "components": ["../../components/gpu", f"../../components/{kind}"]}  # fmt: skip
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(listed))
        found[kind] = render(folder)
    yield found
