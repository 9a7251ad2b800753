"""Every file of the library and the services is known to be pure, or known to be an edge."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What touches clock, disk, wire, environment, logger or a runtime; all other files are pure.
EDGES = {
    *(f"fibstream.{name}" for name in ("children", "client", "host", "kafka", "local", "topics")),
    *(f"fibstream.kafka_{name}" for name in ("group", "lease", "link", "log", "queue")),
    *(f"fibstream.{name}" for name in ("loops", "memory", "planner", "prometheus", "remote")),
    *(f"fibstream.{name}" for name in ("root", "server", "settings", "sqlite", "store")),
    *(f"fibstream.{name}" for name in ("supervisor", "telemetry", "wire", "worker")),
    *(f"fibstream.services.ingest.{name}" for name in ("formats", "hierarchy", "land", "landing")),
    *(f"fibstream.services.ingest.{name}" for name in ("slices", "sources", "tiff")),
    *(f"fibstream.services.ingest.{name}" for name in ("mrc", "n5", "nodes", "selection")),
    *(f"fibstream.services.ingest.{name}" for name in ("datasets", "following", "uploads")),
    *(f"fibstream.services.ingest.{name}" for name in ("growing", "incoming", "watcher")),
    *(f"fibstream.services.analysis.{name}" for name in ("answering", "asking", "query")),
    *(f"fibstream.services.inference.{name}" for name in ("engine", "model")),
}
SHELL = ("__init__", "__main__", "service", "door")  # of each service


def modules() -> set[str]:
    """Return the modules of the library and of the services, shells and training left out."""
    library = {f"fibstream.{path.stem}" for path in (ROOT / "fibstream").glob("*.py")}
    services = {
        f"fibstream.services.{path.parent.name}.{path.stem}"
        for path in (ROOT / "services").glob("*/*.py")
    }
    return {name for name in library | services if name.rpartition(".")[2] not in SHELL}


def contract(start: str) -> dict[str, list[str]]:
    """Return the import contract whose name begins with ``start``."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (found,) = (c for c in settings["contracts"] if c["name"].startswith(start))
    return dict(found)


def test_every_file_is_pure_or_a_named_edge() -> None:
    pure = set(contract("pure files")["source_modules"])
    assert not pure & EDGES
    assert pure | EDGES == modules()


def test_all_services_are_independent() -> None:
    folders = {path.parent.name for path in (ROOT / "services").glob("*/service.py")}
    named = set(contract("services do not know")["modules"])
    assert named == {f"fibstream.services.{name}" for name in folders}
