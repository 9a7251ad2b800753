"""Addresses of the services: their default ports, and parsing of HOST:PORT. Pure."""

from collections.abc import Mapping

from .errors import WrongUse

FIRST_PORT = 7801  # of the first service; the others follow
LAST_PORT = 65_535
EXPECTED = "expected HOST, HOST:PORT (of ingest, the others follow), or SERVICE=HOST:PORT,.."


def split(address: str, what: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; raise WrongUse, which calls it ``what``, otherwise."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 <= int(port) <= LAST_PORT):
        raise WrongUse(f"{what} {address}: expected HOST:PORT")
    return host, int(port)


def shifted(address: str | None, by: int, what: str = "--metrics") -> str | None:
    """Return the address with its port raised by ``by``; None stays None, port 0 stays 0."""
    if address is None:
        return None
    host, port = split(address, what)
    return f"{host}:{port + by if port else 0}"  # port 0 lets the system choose


def addresses(server: str, ports: Mapping[str, int]) -> Mapping[str, str]:
    """Return HOST:PORT of every service that ``--server`` names; raise WrongUse otherwise.

    ``ports`` are the services and the ports at which they answer by default.
    """
    if "=" in server:
        return dict(_named(part, ports) for part in server.split(","))
    host, port = split(server, "--server") if ":" in server else (server, FIRST_PORT)
    if not host or "," in server:
        raise WrongUse(f"--server {server}: {EXPECTED}")
    return {name: f"{host}:{own - FIRST_PORT + port}" for name, own in ports.items()}


def _named(part: str, ports: Mapping[str, int]) -> tuple[str, str]:
    service, _, address = part.partition("=")
    if service not in ports:
        raise WrongUse(f"--server {part}: {EXPECTED}; services are {', '.join(ports)}")
    split(address, f"--server {service}=")
    return service, address
