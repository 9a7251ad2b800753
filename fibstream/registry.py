"""The services of this installation, by the entry points ``fibstream.services``.

A service is a folder and one entry point ``NAME = MODULE:SERVICE``; topics, completeness, progress,
status, `verify` and the viewer all derive from what is found here.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points

from fibstream.core.dataset import Dataset
from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.core.events import COMMON_FAMILIES
from fibstream.core.ports import Files
from fibstream.core.service import Service, Word

GROUP = "fibstream.services"


@cache
def services() -> tuple[Service, ...]:
    """Return all services, in the order in which data pass through them: that of their ports."""
    return distinct([point.load() for point in entry_points(group=GROUP)])


def distinct(found: Sequence[Service]) -> tuple[Service, ...]:
    """Return services by port.

    Raises WrongUse for two that share a name, a port, a family of stages or a word.
    """
    parts: Sequence[tuple[str, list[str]]] = (
        ("name", [s.name for s in found]),
        ("port", [str(s.port) for s in found]),
        ("family", [*COMMON_FAMILIES, *(family for s in found for family in s.families)]),
        ("word", [word for s in found for word in s.words]),
    )
    for what, values in parts:
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise WrongUse(f"services: two have the {what} {twice[0]}")
    return tuple(sorted(found, key=lambda service: service.port))


def names() -> tuple[str, ...]:
    """Return the names of all services."""
    return tuple(service.name for service in services())


def service(name: str) -> Service:
    """Return one service; raise WrongUse when there is none."""
    for each in services():
        if each.name == name:
            return each
    raise WrongUse(f"service {echo(name)}: expected one of {', '.join(names())}")


def ports() -> Mapping[str, int]:
    """Return the port at which each service answers by default."""
    return {service.name: service.port for service in services()}


def owners(dataset: Dataset, files: Files) -> tuple[Service, ...]:
    """Return the services that a dataset needs: those that land something in it or own a stage."""
    return tuple(s for s in services() if s.lands(dataset) or s.stages(dataset, files))


@cache
def families() -> tuple[str, ...]:
    """Return the families of all stages: each is a topic of the ledger."""
    return (*COMMON_FAMILIES, *(family for service in services() for family in service.families))


def words() -> Mapping[str, Word]:
    """Return the words of a pipeline that one service alone reads."""
    return {name: word for service in services() for name, word in service.words.items()}
