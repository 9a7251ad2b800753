"""cellmap-analyze in an environment of its own, below the build folder: its pins are not ours.

``python -m tests.support.cellmap`` installs it and prints its Python.
"""

import fcntl
import os
import shutil
import subprocess
import venv
from functools import cache
from pathlib import Path

import pytest

VERSION = "0.6.2"
INSTALL_S = 1000.0  # below the limit of a test: 880 MB are downloaded and unpacked
HOME = Path(__file__).resolve().parents[2] / "build" / f"cellmap-analyze-{VERSION}"  # 880 MB
PYTHON = HOME / "bin" / "python"
NAMED = "CELLMAP_PYTHON"  # the Python of an environment that has it already
REQUIRED = "FIBSTREAM_REQUIRE_CELLMAP"  # that it cannot be installed is a failure then, not a skip


@cache
def failure() -> str:
    """Return why it cannot be installed, empty when it is; tried once in a process."""
    try:
        installed()
    except (subprocess.SubprocessError, OSError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        reason = (said.strip() or str(error)).splitlines()[-1]
        return f"cellmap-analyze {VERSION} cannot be installed: {reason}"
    return ""


def python() -> str:
    """Return the Python that has cellmap-analyze; skip the test where it cannot be installed."""
    if NAMED in os.environ:
        return os.environ[NAMED]
    why = failure()
    if why and os.environ.get(REQUIRED):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    return str(PYTHON)


def installed() -> None:
    """Install it once; one process does it, and what it left half done is made anew."""
    HOME.parent.mkdir(exist_ok=True)
    with (HOME.parent / f"{HOME.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "complete").exists():
            shutil.rmtree(HOME, ignore_errors=True)
            venv.create(HOME, with_pip=True, symlinks=True)
            subprocess.run(
                [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check",
                 "--no-input", f"cellmap-analyze=={VERSION}"],
                check=True, timeout=INSTALL_S, stdin=subprocess.DEVNULL, capture_output=True,
                text=True,
            )  # fmt: skip
            (HOME / "complete").touch()


if __name__ == "__main__":
    installed()
    print(PYTHON)
