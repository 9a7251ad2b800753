"""Hash-pinned requirement lists, one for each image, cut from one resolve.

Run: ``python .ci/lock.py FOLDER [EXTRA..]``.  Versions and hashes are those of this platform and
Python; all images get the same version of a package, for it is resolved once.  An image that only
some machines can run (``inference-cuda``: gigabytes) has its list when its extra is named.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

IMAGES = (*sorted(p.parent.name for p in Path("services").glob("*/service.py")), "cli")
PROJECT = "fibstream"

Package = dict[str, Any]


def resolve(extras: tuple[str, ...]) -> dict[str, Package]:
    """Return every package that the project with these extras needs, by name."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--report", "-", f".[{','.join(extras)}]"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {canonicalize_name(item["metadata"]["name"]): item for item in found["install"]}


def closure(packages: dict[str, Package], extra: str) -> dict[str, Package]:
    """Return what one extra of the project needs, without the project and what it always needs."""
    seen: set[tuple[str, str]] = set()
    ahead = [(PROJECT, extra)]
    while ahead:
        place = ahead.pop()
        if place not in seen and place != (PROJECT, ""):
            seen.add(place)
            ahead += needs(packages[place[0]], place[1], always=place[0] != PROJECT)
    return {name: packages[name] for name, _ in sorted(seen) if name != PROJECT}


def needs(package: Package, extra: str, *, always: bool) -> Iterator[tuple[str, str]]:
    """Yield the name and each extra of what a package with an extra needs on this platform.

    ``always``: also what it needs without any extra.
    """
    for text in package["metadata"].get("requires_dist", []):
        requirement = Requirement(text)
        marker = requirement.marker
        if always if marker is None else marker.evaluate({"extra": extra}):
            name = canonicalize_name(requirement.name)
            yield from ((name, word) for word in ("", *sorted(requirement.extras)))


def line(package: Package) -> str:
    """Return one requirement, pinned to its version and to the hash of its file."""
    metadata = package["metadata"]
    digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
    return f"{metadata['name']}=={metadata['version']} --hash=sha256:{digest}\n"


def main(folder: Path, more: Iterable[str]) -> None:
    """Write one list for each image."""
    images = (*IMAGES, *more)
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras.keys() >= set(images), extras.keys()
    packages = resolve(images)
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        pinned = closure(packages, image)
        (folder / f"{image}.txt").write_text("".join(map(line, pinned.values())))
        sys.stdout.write(f"{folder / image}.txt: {len(pinned)} packages\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
