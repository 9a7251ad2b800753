"""The manifests on a real control plane: ``make test-cluster``; not among the ordinary tests."""

import time
from collections import Counter
from typing import Any

import pytest

from fibstream import registry
from fibstream.bus.topics import PARTITIONS

from .live import GPU_NODES, NODES, apply, pods, running, wait_for

OVERLAYS = ("local", "backfill", "production")  # the last one stays

pytestmark = pytest.mark.timeout(600)


def scale(plane: Any, service: str, count: int) -> None:
    plane.kubectl("scale", "-n", "fibstream", f"deployment/{service}-worker", f"--replicas={count}")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_accepted_by_strict_validation(plane, manifests, overlay) -> None:
    answered = apply(plane, manifests, overlay)
    assert answered.count("serverside-applied") > 20
    assert apply(plane, manifests, overlay).count("serverside-applied") > 20  # and once more
    namespace = "fibstream-backfill" if overlay == "backfill" else "fibstream"
    plane.until(lambda: len(pods(plane, namespace=namespace)) >= 3 * len(registry.names()), "pods")
    warned = [e["message"] for e in plane.get("events", "-n", namespace)
              if e["reason"] in ("FailedCreate", "FailedMount")]  # fmt: skip
    assert not warned  # of Pod Security, accounts, priorities
    if namespace != "fibstream":  # its GPUs are for the tests below
        plane.kubectl("scale", "-n", namespace, "deployment", "--all", "--replicas=0")
        plane.until(lambda: not plane.get("pods", "-n", namespace), "its pods gone")


def test_a_misspelt_field_is_refused(plane) -> None:
    spec = {"scaleTargetRef": {"name": "x"}, "triggers": [], "maxReplicas": 1}
    wrong = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x"},
             "spec": spec}  # fmt: skip
    answer = plane.kubectl(
        "apply", "--server-side", "--validate=strict", "-f", "-", given=wrong, check=False
    )
    assert ".spec.maxReplicas: field not declared in schema" in answer


def test_inference_has_the_gpus_one_a_pod_and_nobody_else(production) -> None:
    scale(production, "inference", PARTITIONS)
    wait_for(production, PARTITIONS, "name=inference", "component=worker")
    computing = [("inference", "worker"), ("inference", "server")]
    place = {pod["metadata"]["name"]: (pod["metadata"]["labels"]["app.kubernetes.io/name"],
                                       pod["metadata"]["labels"]["app.kubernetes.io/component"])
             for pod in running(production)}  # fmt: skip
    found = [p for p in running(production) if place[p["metadata"]["name"]] in computing]
    assert Counter(pod["spec"]["nodeName"] for pod in found) == GPU_NODES
    for pod in found:
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    others = [p for p in running(production) if place[p["metadata"]["name"]] not in computing]
    assert {p["spec"]["nodeName"] for p in others} <= set(NODES)
    scale(production, "inference", PARTITIONS + 1)  # no GPU is left
    production.until(
        lambda: len(pods(production, "name=inference", "component=worker")) == PARTITIONS + 1,
        "one more pod",
    )
    assert len(running(production, "name=inference", "component=worker")) == PARTITIONS
    events = production.get("events", "-n", "fibstream")
    production.until(
        lambda: any("Insufficient nvidia.com/gpu" in e["message"]
                    for e in production.get("events", "-n", "fibstream")),
        f"an event that says so, among {len(events)}",
    )  # fmt: skip
    scale(production, "inference", 1)
    wait_for(production, 1, "name=inference", "component=worker")


def test_workers_go_from_none_to_all_and_back(production) -> None:
    for count in (0, PARTITIONS, 0, 1):
        scale(production, "analysis", count)
        wait_for(production, count, "name=analysis", "component=worker")


def test_applying_again_leaves_the_workers_as_they_are_scaled(production, manifests) -> None:
    scale(production, "refine", 5)
    wait_for(production, 5, "name=refine", "component=worker")
    apply(production, manifests, "production")
    wait_for(production, 5, "name=refine", "component=worker")
    scale(production, "refine", 1)
    wait_for(production, 1, "name=refine", "component=worker")


def test_a_pod_that_is_deleted_is_replaced(production) -> None:
    """How long the process in it takes then, `make test-images` tells."""
    for role in ("worker", "planner", "server"):
        chosen = ("name=inference", f"component={role}")
        before = {pod["metadata"]["name"] for pod in running(production, *chosen)}
        count, gone = len(before), min(before)
        began = time.monotonic()
        production.kubectl("delete", "pod", gone, "-n", "fibstream", "--wait=false")
        production.until(
            lambda chosen=chosen, before=before: {
                p["metadata"]["name"] for p in running(production, *chosen)} - before,
            f"another {role}",
        )  # fmt: skip
        print(f"\na {role} deleted, to the next one running: {time.monotonic() - began:.1f} s")
        wait_for(production, count, *chosen)


def test_a_drain_keeps_one_server_of_two(production) -> None:
    """Where evicted pods find no other node, the budget stops the drain after the first."""
    servers = ("name=ingest", "component=server")
    for name in NODES[1:]:
        production.kubectl("cordon", name)
    chosen = ",".join(f"app.kubernetes.io/{label}" for label in servers)
    production.kubectl("delete", "pods", "-n", "fibstream", "-l", chosen)
    wait_for(production, 2, *servers)
    assert {p["spec"]["nodeName"] for p in running(production, *servers)} == {NODES[0]}
    answer = production.kubectl(
        "drain", NODES[0], "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=15s",
        check=False,
    )  # fmt: skip
    assert "disruption budget" in answer
    assert len(running(production, *servers)) == 1
    for name in NODES:
        production.kubectl("uncordon", name)
    wait_for(production, 2, *servers)


def test_a_new_image_is_rolled_out_to_all(production) -> None:
    for name in registry.names():
        for role in ("server", "planner", "worker"):
            at = f"deployment/{name}-{role}"
            production.kubectl("set", "image", "-n", "fibstream", at, f"{name}=fibstream:next")
    for name in registry.names():
        for role in ("server", "planner", "worker"):
            at = f"deployment/{name}-{role}"
            production.kubectl("rollout", "status", "-n", "fibstream", at, "--timeout=100s")
    production.until(
        lambda: (
            {p["spec"]["containers"][0]["image"] for p in pods(production)} == {"fibstream:next"}
        ),
        "old pods gone",
    )


def test_a_quota_that_is_exceeded_is_named_in_an_event(production) -> None:
    there = len(pods(production))
    quota = {"apiVersion": "v1", "kind": "ResourceQuota",
             "metadata": {"name": "small", "namespace": "fibstream"},
             "spec": {"hard": {"pods": str(there)}}}  # fmt: skip
    production.kubectl("create", "-f", "-", given=quota)
    production.until(
        lambda: production.get("resourcequota", "-n", "fibstream")[0].get("status", {}).get("used"),
        "the quota counts",
    )
    scale(production, "ingest", 3)
    production.until(
        lambda: any(e["reason"] == "FailedCreate" and "exceeded quota: small" in e["message"]
                    for e in production.get("events", "-n", "fibstream")),
        "an event that says so",
    )  # fmt: skip
    production.kubectl("delete", "resourcequota", "small", "-n", "fibstream")
    scale(production, "ingest", 1)
