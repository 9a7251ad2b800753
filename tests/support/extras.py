"""Processes that run as if only one extra of the project were installed, and their children too."""

import re
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = "fibstream"
# Python reads a module of this name at the start of every process.
SITE = """
import sys

REFUSED = frozenset({refused!r})


class Refusing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {{name!r}}: not in this extra", name=name)


sys.meta_path.insert(0, Refusing)
"""


def canonical(name: str) -> str:
    """Return the name of a distribution as package indices spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(extra: str) -> set[str]:
    """Return the distributions that one extra of the project brings, the project among them."""
    seen: set[tuple[str, str]] = set()
    ahead = [(PROJECT, extra)]
    while ahead:
        place = ahead.pop()
        if place in seen:
            continue
        seen.add(place)
        for text in distribution(place[0]).requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            # What the project brings without any extra is the whole command: an image takes less.
            always = marker is None and place[0] != PROJECT
            if always or (marker is not None and marker.evaluate({"extra": place[1]})):
                name = canonical(requirement.name)
                ahead += [(name, ""), *((name, more) for more in requirement.extras)]
    return {name for name, _ in seen}


def environment(folder: Path, extra: str) -> dict[str, str]:
    """Return the variables under which Python refuses all packages that an extra does not bring."""
    allowed = closure(extra)
    refused = {
        module
        for module, owners in packages_distributions().items()
        if not {canonical(owner) for owner in owners} & allowed
    }
    place = folder / f"only_{extra}"
    place.mkdir()
    (place / "sitecustomize.py").write_text(SITE.format(refused=sorted(refused)))
    return {"PYTHONPATH": str(place)}
