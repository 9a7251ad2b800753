"""What every process begins and ends with: settings, log lines, signals, exit codes."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version

from fibstream.core.errors import DiskFull, Retryable, WrongUse
from fibstream.telemetry.logs import last_line, logs
from fibstream.telemetry.metrics import Telemetry

from .settings import Settings, load

EXIT_WRONG_USE = 2
EXIT_AWAY = 1  # the store or the bus: a process that is started again may find it
EXIT_DISK_FULL = 28  # the runner stops the run: no restart makes room
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if orphaned(parent):
        sys.exit(1)  # it ended before we could ask


def orphaned(parent: int | None) -> bool:
    """Whether the process that started this one is gone: the one way to know it on macOS."""
    return parent is not None and os.getppid() != parent


@contextlib.contextmanager
def running(
    parent: int | None, service: str | None = None
) -> Iterator[tuple[Settings, threading.Event]]:
    """Set up a service process: settings, log lines, signals, and one line for what ends it."""
    # gRPC's own log lines contain less than ours, and are no JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        settings, _ = load()
        with logs(settings.log_level, settings.log_format, service):
            if parent is not None:
                die_with(parent)
            stopping = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopping.set())
            try:
                yield settings, stopping
            except (WrongUse, Retryable) as error:
                _write_last(last_line(str(error)))
                sys.exit(_exit_code(error))
    except WrongUse as error:  # the settings themselves
        _write_last(last_line(str(error)))
        sys.exit(EXIT_WRONG_USE)


def _exit_code(error: WrongUse | Retryable) -> int:
    if isinstance(error, WrongUse):
        return EXIT_WRONG_USE
    return EXIT_DISK_FULL if isinstance(error, DiskFull) else EXIT_AWAY


def _write_last(line: str) -> None:
    # The log may be on the full disk; what a buffer kept would fail again at exit.
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


def metrics_of(service: str, address: str | None, held: contextlib.ExitStack) -> Telemetry:
    """Return where the metrics of this process go; they are served if there is an address."""
    if address is None:
        return Telemetry()
    from fibstream.telemetry.prometheus import Prometheus

    telemetry = Prometheus(service, version("fibstream"))
    held.enter_context(telemetry.serve(address))
    return telemetry
