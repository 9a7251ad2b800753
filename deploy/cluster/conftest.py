"""A control plane for the tests of a file, and the manifests that are applied to it.

These tests lie outside the folder of the others, and use what supports them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from fibstream import registry  # noqa: E402
from tests.deploy import conftest as shared  # noqa: E402

from . import control_plane  # noqa: E402
from .live import GPU_NODES, NODES, apply, wait_for  # noqa: E402

PROGRAMS = ROOT / "build" / "cluster" / "bin"
manifests = shared.manifests


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A control plane with nodes, the operators' resources, and nothing of ours."""
    with control_plane.running(PROGRAMS, tmp_path_factory.mktemp("plane")) as made:
        for crds in (HERE / "crds.yaml", PROGRAMS / "keda"):  # the latter are KEDA's own
            made.kubectl("apply", "--server-side", "-f", crds)
        made.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        for name in NODES:
            made.kubectl("create", "-f", "-", given=control_plane.node(name))
        for name, gpus in GPU_NODES.items():
            made.kubectl("create", "-f", "-", given=control_plane.node(name, gpus))
        made.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
        yield made


@pytest.fixture(scope="module")
def production(plane: Any, manifests: Path) -> Any:
    """The live deployment, all its pods running."""
    apply(plane, manifests, "production")
    wait_for(plane, 4 * len(registry.names()))
    return plane
