"""A copy of the package as it is when installed, beside the checkout, and processes that run it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .command import Answer
from .patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("kernels", "volumes", "services", "app", "cli", "phantom", "models", "samples")
COMMAND = "from fibstream.cli.main import entry; entry()"
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


@dataclass
class Installed:
    """A copy below ``site``; ``entries`` are entry points by group, in the file's notation."""

    site: Path
    entries: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def package(self) -> Path:
        """The folder of the package."""
        return self.site / "fibstream"

    def write_entries(self) -> None:
        """Write the entry points, beside the name and the version."""
        write_distribution(self.site, "fibstream", self.entries)

    def variables(self, *more: Path) -> dict[str, str]:
        """Return the environment in which this copy is imported, and what lies in ``more``."""
        path = os.pathsep.join(map(str, (*more, self.site)))
        return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

    def python(self, *arguments: object, more: tuple[Path, ...] = ()) -> Answer:
        """Run Python with this copy, outside the checkout."""
        line = [sys.executable, *map(str, arguments)]
        ended = subprocess.run(
            line, env=self.variables(*more), cwd=self.site, text=True, timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        return Answer(ended.returncode, ended.stdout, ended.stderr)

    def command(self, *arguments: object, more: tuple[Path, ...] = ()) -> Answer:
        """Call the ``fibstream`` command of this copy."""
        return self.python("-c", COMMAND, *arguments, more=more)

    @contextlib.contextmanager
    def started(self, *arguments: object) -> "Iterator[subprocess.Popen[bytes]]":
        """Start the ``fibstream`` command of this copy; it is killed if it has not ended."""
        line = [sys.executable, "-c", COMMAND, *map(str, arguments)]
        with subprocess.Popen(line, env=self.variables(), cwd=self.site) as process:
            try:
                yield process
            finally:
                process.kill()


def install(site: Path) -> Installed:
    """Copy the package into ``site``, with the code that is compiled already, to spare its time."""
    package = site / "fibstream"
    shutil.copytree(ROOT / "fibstream", package, ignore=_what_is_made)
    for folder in OTHERS:
        shutil.copytree(ROOT / folder, package / folder, ignore=_what_is_made)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    made = Installed(site, {name: dict(given) for name, given in project["entry-points"].items()})
    made.write_entries()
    return made


def write_distribution(site: Path, name: str, entries: Mapping[str, Mapping[str, str]]) -> None:
    """Write the metadata of a distribution with its entry points."""
    folder = site / f"{name}-0.1.0.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(METADATA.format(name=name, version="0.1.0"))
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in given.items()), ""])
        for group, given in entries.items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(groups))


def _what_is_made(folder: str, names: list[str]) -> list[str]:
    """Return what is not copied: large volumes, and caches but whole files of the compiler."""
    if Path(folder).name == "__pycache__":
        return [name for name in names if not name.endswith((".nbi", ".nbc"))]
    return [name for name in names if name.endswith((".tif", ".zip"))]
