"""Processes of services, started and joined by one that watches over them."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fibstream.telemetry.logs import SERVICE_VARIABLE, message_of

JOIN_S = 60.0  # longest task that a worker may finish when asked to stop; then it is killed


@dataclass
class Child:
    """One process, what starts it again, and how often it died without a task to blame."""

    name: str
    module: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes]
    log: Path | None
    restarts: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def number(self) -> int:
        """The process id."""
        return self.process.pid

    def last_message(self) -> str:
        """Return the last line that the process wrote to its log."""
        if self.log is None:
            return "see its log"
        with self.log.open(errors="replace") as lines:
            last = next(iter(deque((line.strip() for line in lines if line.strip()), 1)), "")
        return message_of(last)


def spawn(
    name: str, module: str, arguments: Sequence[str], *, environment: Mapping[str, str],
    log: Path | None = None,
) -> Child:  # fmt: skip
    """Start a module that ends when this process does; without ``log`` it shares our stderr."""
    line = [sys.executable, "-m", module, *arguments, "--parent", str(os.getpid())]
    service = module.removeprefix("fibstream.services.").partition(".")[0]
    given = {**environment, SERVICE_VARIABLE: service}  # its log lines carry that name
    file = log.open("ab") if log else None
    try:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=given
        )
    finally:
        if file:
            file.close()
    return Child(name, module, arguments, process, log)


def join(children: Iterable[Child]) -> None:
    """Ask processes to finish what they do, and kill those that take too long."""
    children = list(children)
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + JOIN_S
    for child in children:
        try:
            child.process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
