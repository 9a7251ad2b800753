"""A real Prometheus on loopback, with our rules, in a folder that goes with it."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .patience import PATIENCE_S
from .programs import END_WITH_PARENT, free_ports

SCRAPE_S = 0.5
FASTER = 60  # a minute of a rule is a second of a test
_DURATION = re.compile(r"\b(\d+)(m|h)\b")


def faster(rules: Any) -> Any:
    """Return rules whose minutes are seconds."""
    if isinstance(rules, dict):
        return {key: faster(value) for key, value in rules.items()}
    if isinstance(rules, list):
        return [faster(value) for value in rules]
    if not isinstance(rules, str):
        return rules
    short = _DURATION.sub(lambda m: f"{int(m[1]) * {'m': 60, 'h': 3600}[m[2]] // FASTER}s", rules)
    return short.replace("< 600", f"< {600 // FASTER}")  # since a worker's last record


class Prometheus:
    """The server; ``url`` is where it answers."""

    def __init__(
        self, program: str, folder: Path, targets: Sequence[str], rules: Any, **labels: str
    ) -> None:
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        (folder / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": f"{SCRAPE_S * 1000:.0f}ms", "scrape_timeout": "400ms",
                       "evaluation_interval": "500ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "fibstream",
                                "static_configs": [{"targets": list(targets), "labels": labels}]}],
        }))  # fmt: skip
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "prometheus.log"
        given = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", END_WITH_PARENT, program, *given],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, path: str, **words: str) -> Any:
        """Return the data of an answer of its API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the series that an expression gives now."""
        return list(self.ask("query", query=expression)["result"])

    def firing(self) -> set[str]:
        """Return the alerts that fire."""
        return {a["labels"]["alertname"] for a in self.ask("alerts")["alerts"]
                if a["state"] == "firing"}  # fmt: skip

    def until(
        self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + patience_s
        while not condition():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"{what}: not within {patience_s} s"
            time.sleep(0.1)

    def is_ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
            return True
        return False

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def scraping(
    program: str, folder: Path, targets: Sequence[str], rules: Mapping[str, Any], **labels: str
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes addresses, and puts labels on what it finds."""
    server = Prometheus(program, folder, targets, rules, **labels)
    try:
        server.until(server.is_ready, "Prometheus ready")
        yield server
    finally:
        server.close()
