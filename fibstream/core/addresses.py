"""Addresses of the services: their default ports, and parsing of HOST:PORT. Pure."""

from collections.abc import Mapping

from .errors import WrongUse

SERVICES = ("ingest", "inference", "refine", "analysis")
FIRST_PORT = 7801  # of ingest; the others follow in the order above
FIRST_METRICS_PORT = 9801  # a service takes METRICS_PORTS in a row: gRPC, planner, workers
METRICS_PORTS = 100
LAST_PORT = 65_535
EXPECTED = "expected HOST, HOST:PORT (of ingest, the others follow), or SERVICE=HOST:PORT,.."


def default_listen(service: str) -> str:
    """Return the address that a service listens on by default: on this machine alone."""
    return f"127.0.0.1:{FIRST_PORT + SERVICES.index(service)}"


def default_metrics(service: str) -> str:
    """Return the address at which a service's first process serves metrics by default."""
    return f"127.0.0.1:{FIRST_METRICS_PORT + METRICS_PORTS * SERVICES.index(service)}"


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


def addresses(server: str) -> Mapping[str, str]:
    """Return HOST:PORT of every service that ``--server`` names; raise WrongUse otherwise."""
    if "=" in server:
        return dict(_named(part) for part in server.split(","))
    host, port = split(server, "--server") if ":" in server else (server, FIRST_PORT)
    if not host or "," in server:
        raise WrongUse(f"--server {server}: {EXPECTED}")
    return {service: f"{host}:{port + n}" for n, service in enumerate(SERVICES)}


def _named(part: str) -> tuple[str, str]:
    service, _, address = part.partition("=")
    if service not in SERVICES:
        raise WrongUse(f"--server {part}: {EXPECTED}; services are {', '.join(SERVICES)}")
    split(address, f"--server {service}=")
    return service, address
