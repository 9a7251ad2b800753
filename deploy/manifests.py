"""The manifests of a cluster: ``python -m deploy.manifests FOLDER`` writes them.

What is written by hand lies in ``deploy/k8s``.  Services, ports, topics, metric names, the number
of partitions and the longest block come from the code, so that no second copy of them can differ.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import yaml

from fibstream import registry
from fibstream.bus.topics import PARTITIONS, declared
from fibstream.core.errors import WrongUse
from fibstream.core.service import Service
from fibstream.runtime.process import EXIT_WRONG_USE
from fibstream.telemetry.metrics import BUCKETS, QUEUE

HERE = Path(__file__).resolve().parent / "k8s"
MARK = ".fibstream-manifests"  # in a folder that this program wrote, and may replace
TEMPLATES = "service"  # the folder of what is filled in for each service
METRICS_PORT = 9464  # of every pod: one process each
TASKS_PER_WORKER = 4  # a worker more for so many tasks: fewer would start pods for a minute's work
REPLICAS = 3  # of a partition
MARGIN_S = 60  # beyond the longest block
CUDA = "inference-cuda"  # the image of inference on GPUs


class Role(NamedTuple):
    """One Deployment of a service."""

    arguments: tuple[str, ...]
    strategy: str = "RollingUpdate"


# The words of `python -m fibstream.services.NAME`.
ROLES = {
    "server": Role(("serve", "--role", "grpc")),
    "planner": Role(("plan",), "Recreate"),
    "worker": Role(("work",)),
}


class At(Template):
    """Text with ``@name`` to fill in: ``$`` is Kubernetes' own."""

    delimiter = "@"


def main() -> None:
    """Write the manifests."""
    parser = argparse.ArgumentParser(prog="python -m deploy.manifests", description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder, or one written before")
    try:
        write(parser.parse_args().folder, registry.services())
    except WrongUse as error:
        sys.stderr.write(f"manifests: {error}\n")
        sys.exit(EXIT_WRONG_USE)


def write(folder: Path, services: Iterable[Service]) -> None:
    """Copy what is written by hand, and add what follows from these services."""
    services = tuple(services)
    sizes = yaml.safe_load((HERE / "sizes.yaml").read_text())
    if wrong := sizes.keys() - {"default", *(s.name for s in services)}:
        raise WrongUse(f"sizes.yaml: no service {', '.join(sorted(wrong))}")
    base = {service.name: documents(service, sizes) for service in services}
    scaled = {service.name: fill("scaled.yaml", values(service)) for service in services}
    images = tags([*base, CUDA])
    topics = "---\n".join(yaml.safe_dump(topic, sort_keys=False) for topic in kafka_topics())
    try:
        replace(folder)
    except OSError as error:
        raise WrongUse(f"{folder}: {error.strerror or error}") from None
    resources(folder / "base" / "services", base)
    resources(folder / "components" / "autoscale" / "services", scaled)
    (folder / "components" / "strimzi" / "topics.yaml").write_text(topics)
    (folder / "components" / "images").mkdir()
    (folder / "components" / "images" / "kustomization.yaml").write_text(images)


def replace(folder: Path) -> None:
    """Have a folder hold what is written by hand, and nothing else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise WrongUse(f"{folder}: expected a new folder, or one that was written before")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()  # first: what is half-written may be replaced
    ignored = shutil.ignore_patterns(TEMPLATES, "sizes.yaml")
    shutil.copytree(HERE, folder, ignore=ignored, dirs_exist_ok=True)


def resources(folder: Path, files: Mapping[str, str]) -> None:
    """Write one file for each service, and the list of them."""
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    listed = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{name}.yaml" for name in files],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(listed, sort_keys=False))


def image(name: str) -> str:
    """Return what manifests call an image; a registry comes before it, a version after it."""
    return f"fibstream-{name}"


def tag(name: str) -> str:
    """Return the full name of an image that `make images` builds."""
    return f"{image(name)}:{version('fibstream')}"


def tags(names: Iterable[str]) -> str:
    """Return the component that gives images their version: never "latest", which moves."""
    listed = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "images": [{"name": image(name), "newTag": version("fibstream")} for name in names],
    }
    return yaml.safe_dump(listed, sort_keys=False)


def documents(service: Service, sizes: Mapping[str, Any]) -> str:
    """Return all documents of one service."""
    found = [fill("service.yaml", values(service))]
    for name, role in ROLES.items():
        size = sizes["default"][name] | sizes.get(service.name, {}).get(name, {})
        own = {
            "role": name,
            "arguments": yaml.safe_dump(arguments(service, role), default_flow_style=True).strip(),
            "strategy": f"{{type: {role.strategy}}}",
            "replicas": "1",
            "grace_s": str(grace_s()),
            **{key: yaml.safe_dump(str(value)).split("\n")[0] for key, value in size.items()},
        }
        found.append(fill("workload.yaml", values(service) | own))
    return "---\n".join(found)


def arguments(service: Service, role: Role) -> list[str]:
    """Return the words that a container is given; Kubernetes fills in ``$(NAME)``."""
    listen, metrics = (f"0.0.0.0:{port}" for port in (service.port, METRICS_PORT))
    where = ["--root", "$(ROOT)", "--bus", "$(BUS)"]
    return [*role.arguments, *where, "--listen", listen, "--metrics", metrics]


def grace_s() -> int:
    """Return how long a pod may take to end: the longest block that is measured, and a margin."""
    return int(BUCKETS[-1]) + MARGIN_S


def values(service: Service) -> dict[str, str]:
    """Return what the templates say of a service."""
    return {
        "service": service.name,
        "image": image(service.name),
        "grpc_port": str(service.port),
        "metrics_port": str(METRICS_PORT),
        "partitions": str(PARTITIONS),
        "queue": QUEUE.name,
        "tasks_per_worker": str(TASKS_PER_WORKER),
    }


def fill(template: str, found: Mapping[str, str]) -> str:
    """Return a template with everything filled in."""
    return At((HERE / TEMPLATES / template).read_text()).substitute(found)


def kafka_topics() -> list[dict[str, Any]]:
    """Return every declared topic as a resource of Strimzi."""
    return [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {"name": topic.name, "labels": {"strimzi.io/cluster": "fibstream"}},
            "spec": {
                "topicName": topic.name,
                "partitions": topic.partitions,
                "replicas": REPLICAS,
                "config": topic.config,
            },
        }
        for topic in declared()
    ]


if __name__ == "__main__":
    main()
