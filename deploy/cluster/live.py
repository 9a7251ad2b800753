"""Our manifests on a control plane: what the tests apply, and look at."""

from pathlib import Path
from typing import Any

GPU_NODES = {"gpu-0": 5, "gpu-1": 5}  # all workers, and two servers
NODES = ("cpu-0", "cpu-1", "cpu-2")


def apply(plane: Any, manifests: Path, overlay: str) -> str:
    """Apply an overlay with strict validation; return what kubectl says."""
    folder = manifests / "overlays" / overlay
    return str(plane.kubectl("apply", "--server-side", "--validate=strict", "-k", folder))


def pods(plane: Any, *labels: str, namespace: str = "fibstream") -> list[dict[str, Any]]:
    """Return the pods that are not being deleted."""
    chosen = [f"app.kubernetes.io/{label}" for label in labels]
    words = ["-l", ",".join(chosen)] if chosen else []
    found = plane.get("pods", "-n", namespace, *words)
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def running(plane: Any, *labels: str) -> list[dict[str, Any]]:
    """Return the pods that are said to run."""
    return [pod for pod in pods(plane, *labels) if pod["status"].get("phase") == "Running"]


def wait_for(plane: Any, count: int, *labels: str) -> None:
    """Wait until so many pods are there, and all of them run."""
    plane.until(
        lambda: len(running(plane, *labels)) == len(pods(plane, *labels)) == count,
        f"{count} pods {labels}",
    )
