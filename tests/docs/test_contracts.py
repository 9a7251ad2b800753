"""The import contracts of pyproject.toml report every kind of forbidden import."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("kernels", "volumes", "services", "app", "cli", "phantom")
# For each contract an import that it must report, added to a file.
BROKEN = {
    "fibstream/core/grid.py": "import os",
    "fibstream/core/frontier.py": "import fibstream.bus.wire",
    "fibstream/store/shard.py": "import fibstream.runtime.worker",
    "kernels/smooth.py": "import time",
    "services/refine/cut.py": "import pathlib",
    "services/refine/stages/labels.py": "import fibstream.store.store",
    "services/analysis/stages/tables.py": "import fibstream.services.analysis.edges.sql",
    "services/inference/port.py": "import fibstream.services.refine.recipe",
    "services/ingest/edges/uploads.py": "import fibstream.app.pipelines",
    "volumes/tiff.py": "import fibstream.services.ingest.stability",
    "app/status.py": "import fibstream.cli.flags",
    "fibstream/telemetry/prometheus.py": "import torch",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the code into the layout of an installed package."""
    top = tmp_path_factory.mktemp("tree")
    only = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    shutil.copytree(ROOT / "fibstream", top / "fibstream", ignore=only)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, top / "fibstream" / folder, ignore=only)
    return top


def contracts(tree: Path) -> str:
    """Return the output of the import linter for a tree."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    command += ["--config", str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False).stdout


def test_every_broken_contract_is_reported(tree: Path) -> None:
    for name, line in BROKEN.items():
        inside = name if name.startswith("fibstream/") else f"fibstream/{name}"
        with (tree / inside).open("a") as file:
            file.write(f"\n{line}\n")
    report = contracts(tree)
    for name in BROKEN:
        module = name.removesuffix(".py").replace("/", ".").removeprefix("fibstream.")
        assert f"fibstream.{module} -> " in report, name
