"""The kustomization that docs/operating.md has operators write renders, and reaches every pod."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Document, render

PAGE = (ROOT / "docs" / "operating.md").read_text()
SECTION = PAGE[PAGE.index("## A first volume") : PAGE.index("## Buckets")]
WRITTEN = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)]


def laid_out(folder: Path, manifests: Path, written: Any) -> list[Document]:
    """Return what the page's kustomization renders, where the page puts it."""
    (folder / "build").mkdir()
    (folder / "build" / "k8s").symlink_to(manifests)
    (folder / "lab").mkdir()
    (folder / "lab" / "kustomization.yaml").write_text(yaml.safe_dump(written))
    return render(folder / "lab")


@pytest.fixture(scope="module")
def found(manifests: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    return laid_out(tmp_path_factory.mktemp("lab"), manifests, WRITTEN[0])


def test_the_kustomization_of_a_first_volume_renders(found) -> None:
    (settings,) = (d["data"] for d in found if (d["kind"], d["metadata"]["name"]) == (
        "ConfigMap", "fibstream"))  # fmt: skip
    assert settings["ROOT"] == "s3://our-bucket/fibstream"
    assert settings["AWS_REGION"] == "eu-central-1"
    images = {
        container["image"]
        for document in found
        if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    }
    patched = {entry["newName"] for entry in WRITTEN[0]["images"]}
    assert {image.rpartition(":")[0] for image in images} == patched


def test_what_kubectl_is_told_of_is_there(found) -> None:
    names = {(d["kind"].lower(), d["metadata"]["name"]) for d in found}
    asked = set(re.findall(r"\b(service|kafka|deployment)/([a-z-]+)", SECTION))
    assert len(asked) >= 4
    assert asked <= names
    (space,) = {d["metadata"]["name"] for d in found if d["kind"] == "Namespace"}
    assert set(re.findall(r"kubectl -n (\S+)", SECTION)) == {space}
    assert f"secret generic {secret(found)}" in SECTION


def secret(found: list[Document]) -> str:
    """Return the one Secret that pods take their credentials from."""
    (name,) = {
        source["secretRef"]["name"]
        for document in found if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
        for source in container["envFrom"] if "secretRef" in source
    }  # fmt: skip
    return str(name)


def test_more_workers_have_as_many_partitions(manifests, tmp_path) -> None:
    more = {**WRITTEN[0], "patches": WRITTEN[0]["patches"] + WRITTEN[1]["patches"]}
    found = laid_out(tmp_path, manifests, more)
    partitions = {
        d["metadata"]["name"]: d["spec"]["partitions"] for d in found if d["kind"] == "KafkaTopic"
    }
    inference = ("ScaledObject", "inference-worker")
    (most,) = (d["spec"]["maxReplicaCount"] for d in found
               if (d["kind"], d["metadata"]["name"]) == inference)  # fmt: skip
    raised = {name for name, count in partitions.items() if count == most}
    assert raised == {"fibstream.tasks.inference", "fibstream.leases.inference"}
