"""All of fibstream on one machine: ``python -m deploy.compose FOLDER`` writes what compose reads.

Services, ports, images, the addresses that Prometheus asks and its rules come from the code and the
manifests; the broker has the version that the tests run.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from deploy.manifests import HERE as MANIFESTS
from deploy.manifests import METRICS_PORT, At, grace_s, tag
from fibstream import registry
from fibstream.core.errors import WrongUse
from fibstream.core.service import Service
from fibstream.runtime.process import EXIT_WRONG_USE

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "deploy" / "compose.yaml"
POM = ROOT / "tests" / "kafka" / "pom.xml"
RULES = MANIFESTS / "components" / "monitoring" / "rules.yaml"
SHARED = "x-service"  # what all services have
SERVE = 2  # processes of a service besides its workers: the server and the planner
Document = dict[str, Any]


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m deploy.compose", description=__doc__)
    parser.add_argument("folder", type=Path, help="where compose.yaml and its like go")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="of each service")
    given = parser.parse_args()
    try:
        write(given.folder, tuple(registry.services()), given.workers)
    except WrongUse as error:
        sys.stderr.write(f"compose: {error}\n")
        sys.exit(EXIT_WRONG_USE)


def write(folder: Path, services: Iterable[Service], workers: int) -> None:
    """Write compose.yaml, and what Prometheus reads."""
    if workers < 1:
        raise WrongUse(f"--workers {workers}: expected at least 1")
    services = tuple(services)
    found = {"compose": compose(services, workers), "prometheus": prometheus(services, workers),
             "rules": yaml.safe_load(RULES.read_text())["spec"]}  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in found.items():
            text = yaml.safe_dump(document, sort_keys=False, width=100)
            (folder / f"{name}.yaml").write_text(text)
    except OSError as error:
        raise WrongUse(f"{folder}: {error.strerror or error}") from None


def compose(services: Iterable[Service], workers: int) -> Document:
    """Return the file of compose: a container for each service, with all its roles."""
    filled = At(TEMPLATE.read_text()).substitute(grace_s=grace_s(), kafka=kafka_version())
    document: Document = yaml.safe_load(filled)
    shared = document.pop(SHARED)
    for service in services:
        document["services"][service.name] = shared | {
            "image": tag(service.name),
            "command": command(service, workers),
            "ports": [f"127.0.0.1:{service.port}:{service.port}"],
        }
    return document


def command(service: Service, workers: int) -> list[str]:
    """Return the words that a container of a service is given."""
    listen, metrics = (f"0.0.0.0:{port}" for port in (service.port, METRICS_PORT))
    where = ["--root", "/data", "--bus", "kafka://kafka:9092"]
    return ["serve", *where, "--workers", str(workers), "--listen", listen, "--metrics", metrics]


def prometheus(services: Iterable[Service], workers: int) -> Document:
    """Return the configuration of Prometheus: each process of each service is asked."""
    ports = range(METRICS_PORT, METRICS_PORT + SERVE + workers)
    targets = [f"{service.name}:{port}" for service in services for port in ports]
    return {
        "global": {"scrape_interval": "15s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "fibstream", "static_configs": [{"targets": targets}]}],
    }


def kafka_version() -> str:
    """Return the version of Apache Kafka that the tests run."""
    found = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>(.+?)<", POM.read_text())
    assert found, POM
    return found[1]


if __name__ == "__main__":
    main()
