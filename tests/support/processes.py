"""The processes of a run, found and killed from outside, as an operator or a power cut would."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from fibstream.bus.sqlite import SqliteBus
from fibstream.core.errors import NotFound, Retryable
from fibstream.core.events import Record
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import bus_path
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from .patience import PATIENCE_S

T = TypeVar("T")
LOOK_S = 0.002  # shorter than any task: a look must not miss one


def wait_for(
    condition: Callable[[], T], what: str, run: "subprocess.Popen[str] | None" = None
) -> T:
    """Return the first true value of a condition; fail early when ``run`` ends before it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert run is None or run.poll() is None, f"{what}: {run.communicate()}"
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(LOOK_S)
    return found


def services(out: Path) -> dict[int, str]:
    """Return the processes that serve a dataset: id and role, such as ``refine plan``."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            words = _command(folder)
            if "--parent" in words and str(out) in words:
                module = words[words.index("-m") + 1].removeprefix("fibstream.services.")
                landing = module == "ingest.edges.land"
                found[int(folder.name)] = "landing" if landing else f"{module} {words[3]}"
    return found


def _command(folder: Path) -> list[str]:
    try:
        return (folder / "cmdline").read_bytes().decode().split("\0")
    except OSError:  # it ended meanwhile
        return []


def kill(process: int) -> None:
    """End one process at once."""
    os.kill(process, signal.SIGKILL)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """Have no thread of a process run meanwhile; it goes on afterwards unless it was killed."""
    os.kill(process, signal.SIGSTOP)  # only asks for it: on a busy machine threads run on
    try:
        wait_for(lambda: _states(process) <= set("TZX"), f"the stop of process {process}")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def _states(process: int) -> set[str]:
    """Return the states of all threads of a process, as the system names them."""
    found = set()
    for thread in Path(f"/proc/{process}/task").glob("*/stat"):
        with suppress(OSError):  # it ended meanwhile
            found.add(thread.read_text().rpartition(")")[2].split()[0])
    return found


def records(out: Path) -> list[Record]:
    """Return the ledger of a dataset that may be running."""
    if not bus_path(out).is_file():
        return []
    try:  # its record or its tables may still be to be made; a stopped process may hold its lock
        with closing(SqliteBus(bus_path(out), read_only=True)) as bus:
            return list(ledger(bus, read_dataset(LocalFiles(out)).name))
    except (NotFound, Retryable):
        return []


def holders(bus: SqliteBus) -> dict[int, str]:
    """Return which processes hold a task now, and the task's key."""
    rows = bus._run("SELECT owner, key FROM tasks WHERE owner IS NOT NULL")
    return {int(owner.rpartition(b":")[2]): key.decode() for owner, key in rows}


def deaths(bus: SqliteBus, key: str) -> int:
    """Return how many processes died of the task of a key that is held now."""
    held = "SELECT MAX(crashes) FROM tasks WHERE key = ? AND owner IS NOT NULL"
    return int(bus._run(held, key)[0][0] or 0)
