"""What the overlays render: valid on every promised version, and nothing that differs from code."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from fibstream import registry
from fibstream.bus.topics import PARTITIONS, declared
from fibstream.core.errors import WrongUse
from fibstream.core.service import Service
from fibstream.runtime.main import _parser
from fibstream.runtime.settings import PREFIX, load
from fibstream.telemetry.metrics import BUCKETS, QUEUE

from .conftest import OVERLAYS, ROOT, Document, render

PROMISED = ("1.31", "1.37")  # the oldest and the newest version; docs/operating.md names them
ALL = (*OVERLAYS, "gpu-mig", "gpu-time-slicing")
CRDS = {
    (crd["spec"]["names"]["kind"], f"{crd['spec']['group']}/{version['name']}"):
        version["schema"]["openAPIV3Schema"]
    for crd in yaml.safe_load_all((ROOT / "deploy" / "cluster" / "crds.yaml").read_text())
    for version in crd["spec"]["versions"]
}  # fmt: skip


def of(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def pods(documents: list[Document]) -> Iterator[tuple[str, dict[str, str], Document, Document]]:
    """Yield name, labels, pod and the one container of each Deployment."""
    for each in of(documents, "Deployment"):
        template = each["spec"]["template"]
        (container,) = template["spec"]["containers"]
        yield each["metadata"]["name"], template["metadata"]["labels"], template["spec"], container


@cache
def definitions(version: str) -> Any:
    """Return the strict schemas of a version, which all kinds share: megabytes, read once."""
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    found = Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version))
    return folder, found @ Registry()


@cache
def validator(kind: str, api: str, version: str) -> jsonschema.Draft202012Validator:
    """Return what `kubernetes-validate --strict` validates with, made once for each kind."""
    folder, registry = definitions(version)
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)  # networking.k8s.io/v1: networking-v1
    schema = schema_contents(f"{folder}/{kind.lower()}-{name}.json", version)
    return jsonschema.Draft202012Validator(
        schema, registry=Resource.from_contents(schema) @ registry
    )


def closed(schema: Any) -> Any:
    """Return a schema that refuses fields that it does not name, as the server does."""
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) if key == "items" else value for key, value in schema.items()}
    if "properties" in schema:
        found["properties"] = {k: closed(v) for k, v in schema["properties"].items()}
        found.setdefault("additionalProperties", False)
    return found


def test_every_resource_is_valid_on_the_oldest_and_the_newest_version(rendered) -> None:
    for name in ALL:
        assert len(rendered[name]) > 20, name  # an empty file is valid too
        for document in rendered[name]:
            kind = document["kind"], document["apiVersion"]
            if kind in CRDS:
                bare = {key: document[key] for key in ("spec",)}
                jsonschema.validate(bare, closed(CRDS[kind]))
            else:
                for version in PROMISED:
                    validator(*kind, version).validate(document)


def test_the_validation_sees_a_misspelt_field_of_either_kind(rendered) -> None:
    deployment = of(rendered["production"], "Deployment")[0]
    deployment = {**deployment, "spec": {**deployment["spec"], "replica": 1}}
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        validator("Deployment", "apps/v1", PROMISED[0]).validate(deployment)
    scaled = of(rendered["production"], "ScaledObject")[0]["spec"]
    schema = closed(CRDS["ScaledObject", "keda.sh/v1alpha1"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"spec": {**scaled, "maxReplicas": 1}}, schema)


@pytest.mark.parametrize("overlay", ALL)
def test_every_service_has_its_roles_and_its_ports(rendered, overlay) -> None:
    names = {f"{s.name}-{role}" for s in registry.services()
             for role in ("server", "planner", "worker")}  # fmt: skip
    assert {name for name, *_ in pods(rendered[overlay])} == names
    ports = {d["metadata"]["name"]: d["spec"]["ports"][0]["port"]
             for d in of(rendered[overlay], "Service")}  # fmt: skip
    assert ports == dict(registry.ports())
    for name, labels, _, container in pods(rendered[overlay]):
        service = labels["app.kubernetes.io/name"]
        found = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert found["grpc"] == registry.ports()[service], name
        given = _parser(service).parse_args(container["args"])  # the words that the program takes
        assert given.listen == f"0.0.0.0:{found['grpc']}"
        assert given.metrics == f"0.0.0.0:{found['metrics']}"
        assert (
            given.command
            == {"server": "serve", "planner": "plan", "worker": "work"}[
                labels["app.kubernetes.io/component"]
            ]
        )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_a_container_is_given_is_there_and_is_a_setting(rendered, overlay, tmp_path) -> None:
    (config,) = (d for d in of(rendered[overlay], "ConfigMap") if "ROOT" in d["data"])
    load({}, config["data"], tmp_path)  # refuses what is none
    assert [n for n in config["data"] if n.startswith(PREFIX)]
    for name, _, pod, container in pods(rendered[overlay]):
        sources = [(kind, s[kind]["name"], s[kind].get("optional", False))
                   for s in container["envFrom"] for kind in s]  # fmt: skip
        assert sources == [("configMapRef", config["metadata"]["name"], False),
                           ("secretRef", "fibstream-store", True)], name  # fmt: skip
        used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
        assert used <= config["data"].keys(), name
        accounts = {d["metadata"]["name"] for d in of(rendered[overlay], "ServiceAccount")}
        assert pod["serviceAccountName"] in accounts
        classes = {d["metadata"]["name"] for d in of(rendered[overlay], "PriorityClass")}
        assert pod["priorityClassName"] in classes
    page = (ROOT / "docs" / "operating.md").read_text()
    assert "`fibstream-store`" in page
    assert f"For versions {' to '.join(PROMISED)}." in page


@pytest.mark.parametrize("overlay", ALL)
def test_pods_are_restricted_probed_and_limited(rendered, overlay) -> None:
    for name, _, pod, container in pods(rendered[overlay]):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert pod["automountServiceAccountToken"] is False
        assert (
            pod["enableServiceLinks"] is False
        )  # FIBSTREAM_..._HOST would be refused as a setting
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] in registry.ports().values(), (name, probe)
        for kind in ("requests", "limits"):
            assert "memory" in container["resources"][kind], (name, kind)
        assert "cpu" in container["resources"]["requests"]
        assert pod["terminationGracePeriodSeconds"] > BUCKETS[-1]
        assert not any("hostPath" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("overlay", ALL)
def test_selectors_match_what_they_are_for(rendered, overlay) -> None:
    labels = [labels for _, labels, *_ in pods(rendered[overlay])]

    def matched(selector: dict[str, str]) -> int:
        return sum(selector.items() <= own.items() for own in labels)

    for document in of(rendered[overlay], "Deployment"):
        assert matched(document["spec"]["selector"]["matchLabels"]) == 1
    for document in of(rendered[overlay], "Service"):
        assert matched(document["spec"]["selector"]) == 1
    budgets = of(rendered[overlay], "PodDisruptionBudget")
    assert len(budgets) == len(labels)
    for document in budgets:
        assert matched(document["spec"]["selector"]["matchLabels"]) == 1
    for document in of(rendered[overlay], "PodMonitor"):
        assert matched(document["spec"]["selector"]["matchLabels"]) == len(labels)
    policies = {d["metadata"]["name"]: d["spec"] for d in of(rendered[overlay], "NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in ("services-egress", "clients-ingress", "metrics-ingress"):
        assert matched(policies[name]["podSelector"]["matchLabels"]), name


@pytest.mark.parametrize("overlay", ["production", "backfill", "gpu-mig", "gpu-time-slicing"])
def test_only_what_computes_networks_asks_for_a_gpu_and_for_one(rendered, overlay) -> None:
    """Workers, and the servers that say how new datasets are computed."""
    for name, _, pod, container in pods(rendered[overlay]):
        limits = container["resources"]["limits"]
        gpus = {key: value for key, value in limits.items() if key.startswith("nvidia.com/")}
        if name in ("inference-server", "inference-worker"):
            assert list(gpus.values()) == ["1"]
            assert pod["nodeSelector"]["nvidia.com/gpu.present"] == "true"
            assert [t["key"] for t in pod["tolerations"]] == ["nvidia.com/gpu"]
        else:
            assert not gpus, name
            assert "tolerations" not in pod, name


@pytest.mark.parametrize("overlay", ["production", "backfill"])
def test_workers_are_scaled_by_the_tasks_of_their_own_namespace(rendered, overlay) -> None:
    deployments = {d["metadata"]["name"]: d for d in of(rendered[overlay], "Deployment")}
    scaled = of(rendered[overlay], "ScaledObject")
    assert {d["spec"]["scaleTargetRef"]["name"] for d in scaled} == {
        f"{name}-worker" for name in registry.names()
    }
    for document in scaled:
        target = deployments[document["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]  # or each `apply` would undo what was scaled
        assert (document["spec"]["minReplicaCount"], document["spec"]["maxReplicaCount"]) == (
            0, PARTITIONS,
        )  # fmt: skip
        (trigger,) = document["spec"]["triggers"]
        service = target["metadata"]["labels"]["app.kubernetes.io/name"]
        namespace = document["metadata"]["namespace"]
        assert trigger["metadata"]["ignoreNullValues"] == "false"  # nobody counts: the fallback
        assert document["spec"]["fallback"]["replicas"] > 0
        assert trigger["metadata"]["query"] == (
            f'sum({QUEUE.name}{{namespace="{namespace}",service="{service}"}})'
        )


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_topics_are_those_that_the_code_declares(rendered, overlay) -> None:
    found = {d["spec"]["topicName"]: d["spec"] for d in of(rendered[overlay], "KafkaTopic")}
    assert {name: (spec["partitions"], spec["config"]) for name, spec in found.items()} == {
        topic.name: (topic.partitions, topic.config) for topic in declared()
    }
    (cluster,) = of(rendered[overlay], "Kafka")
    (brokers,) = of(rendered[overlay], "KafkaNodePool")
    assert all(spec["replicas"] <= brokers["spec"]["replicas"] for spec in found.values())
    (config,) = (d for d in of(rendered[overlay], "ConfigMap") if "ROOT" in d["data"])
    listener = cluster["spec"]["kafka"]["listeners"][0]
    host = f"{cluster['metadata']['name']}-kafka-bootstrap"
    assert config["data"]["BUS"] == f"kafka://{host}:{listener['port']}"
    assert cluster["spec"]["kafka"]["config"]["auto.create.topics.enable"] is False


def test_backfill_goes_after_what_is_live(rendered) -> None:
    values = {d["metadata"]["name"]: d["value"] for d in of(rendered["backfill"], "PriorityClass")}
    live = {pod["priorityClassName"] for _, _, pod, _ in pods(rendered["production"])}
    later = {pod["priorityClassName"] for _, _, pod, _ in pods(rendered["backfill"])}
    assert max(values[name] for name in later) < 0 < min(values[name] for name in live)
    roots = {c["data"]["ROOT"] for name in ("production", "backfill")
             for c in of(rendered[name], "ConfigMap") if "ROOT" in c["data"]}  # fmt: skip
    assert len(roots) == 2


def program() -> Any:
    """Return the program as a module: it lies beside the package, not in it."""
    path = ROOT / "deploy" / "manifests.py"
    spec = importlib.util.spec_from_file_location("manifests", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_one_more_service_appears_by_itself(tmp_path: Path) -> None:
    census = Service("census", 7899, "counted", (), lambda _: None)
    program().write(tmp_path / "k8s", (*registry.services(), census))
    documents = render(tmp_path / "k8s" / "overlays" / "production")
    assert "census-worker" in {d["spec"]["scaleTargetRef"]["name"]
                               for d in of(documents, "ScaledObject")}  # fmt: skip
    assert {name for name, *_ in pods(documents) if name.startswith("census")} == {
        "census-server", "census-planner", "census-worker",
    }  # fmt: skip


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    found = subprocess.run(
        [sys.executable, "-m", "deploy.manifests", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr == (
        f"manifests: {tmp_path}: expected a new folder, or one that was written before\n"
    )
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_file_in_place_of_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    for path in (tmp_path / "mine", tmp_path / "mine" / "k8s"):
        with pytest.raises(WrongUse, match="mine") as raised:
            program().write(path, registry.services())
        assert "\n" not in str(raised.value)
    assert (tmp_path / "mine").read_text() == "kept"


def test_what_is_wrong_leaves_the_manifests_written_before(tmp_path: Path) -> None:
    made, folder = program(), tmp_path / "k8s"
    made.write(folder, registry.services())
    before = sorted(path for path in folder.rglob("*"))
    without = [s for s in registry.services() if s.name != "ingest"]
    with pytest.raises(WrongUse, match=r"sizes\.yaml: no service ingest"):
        made.write(folder, without)
    assert sorted(path for path in folder.rglob("*")) == before
