"""The kustomization that docs/operating.md has operators write renders, and reaches every pod."""

import re
from pathlib import Path

import yaml

from .conftest import ROOT, render

PAGE = (ROOT / "docs" / "operating.md").read_text()


def test_the_kustomization_of_a_first_volume_renders(manifests: Path) -> None:
    section = PAGE[PAGE.index("## A first volume") : PAGE.index("## Buckets")]
    (written,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    folder = manifests / "overlays" / "lab"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(written)
    found = render(folder)
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
    patched = {entry["newName"] for entry in yaml.safe_load(written)["images"]}
    assert {image.rpartition(":")[0] for image in images} == patched
    services = {d["metadata"]["name"] for d in found if d["kind"] == "Service"}
    assert set(re.findall(r"service/(\w+)", section)) <= services
