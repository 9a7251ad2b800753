"""The services of this installation."""

from functools import cache
from importlib import import_module

from fibstream.core.addresses import SERVICES
from fibstream.core.errors import WrongUse
from fibstream.runtime.service import Service


def service(name: str) -> Service:
    """Return one service without importing the others; raise WrongUse when there is none."""
    if name not in SERVICES:
        raise WrongUse(f"service {name!r}: expected one of {', '.join(SERVICES)}")
    found: Service = import_module(f"fibstream.services.{name}.service").SERVICE
    return found


@cache
def services() -> tuple[Service, ...]:
    """Return all services, in the order in which data pass through them."""
    return tuple(service(name) for name in SERVICES)
