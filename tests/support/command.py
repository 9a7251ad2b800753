"""The ``fibstream`` command as a user calls it: in this process, or in one of its own."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibstream.cli.main import entry

from .patience import PATIENCE_S

PROGRAM = str(Path(sys.executable).with_name("fibstream"))


@dataclass(frozen=True)
class Answer:
    """How a call ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """The JSON object that ``--json`` puts last."""
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found

    @property
    def hashes(self) -> tuple[str, str]:
        """The hashes of labels and tables in the report."""
        return self.report["labels_hash"], self.report["tables_hash"]


def inside(*arguments: object) -> Answer:
    """Call the command in this process."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["fibstream", *map(str, arguments)]
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            entry()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.argv = before
    return Answer(code, out.getvalue(), err.getvalue())


def start(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start the command as a process that leads a group of its own."""
    return subprocess.Popen(
        [PROGRAM, *map(str, arguments)], env={**os.environ, **(environment or {})}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]") -> Answer:
    """Wait for a process to end; one that does not is ended, with its group, and told of."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired as late:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"it did not end within {PATIENCE_S} s: {out}{err}") from late
    return Answer(process.returncode, out, err)


def apart(*arguments: object, environment: Mapping[str, str] | None = None) -> Answer:
    """Call the command in a process of its own."""
    return finish(start(*arguments, environment=environment))
