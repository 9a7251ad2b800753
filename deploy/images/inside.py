"""What a container says of itself: run in it by the tests, with the address of its service."""

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

NOT_HERE = ("/opt/packages", "/opt/fibstream", "/opt/kernels", "/etc", "/var/lib", "/")
PROGRAMS = ("pip", "pip3", "gcc", "cc", "g++", "ld", "make", "curl", "wget")
NOBODY = "127.0.0.1:1"


def write(folder: str) -> str:
    """Return the name of the error that a new file in a folder meets."""
    try:
        (Path(folder) / "new").touch()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "written"


def lines(process: str, *wanted: str) -> dict[str, str]:
    """Return values of /proc/PROCESS/status."""
    listed = Path("/proc", process, "status").read_text().splitlines()
    pairs = (line.split(":\t") for line in listed)
    return {key: value.strip() for key, value in pairs if key in wanted}


def healthy(address: str) -> int:
    """Return the exit code of a health check."""
    line = (sys.executable, "-m", "fibstream.runtime.healthy", address)
    return subprocess.run(line, check=False).returncode


def kernels(folder: str) -> set[str]:
    """Return what is compiled below a folder."""
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*.nbc")}


def resident_mb() -> float:
    """Return the memory of all processes but this one."""
    ids = (p.name for p in Path("/proc").iterdir() if p.name.isdigit())
    others = [lines(i, "VmRSS") for i in ids if int(i) != os.getpid()]
    return sum(int(found["VmRSS"].split()[0]) for found in others if found) / 1e3


if __name__ == "__main__":
    memory = resident_mb()  # before the checks run
    sys.stdout.write(json.dumps({
        "user": [os.getuid(), os.getgid()],
        "written": {folder: write(folder) for folder in NOT_HERE},
        "status": lines("1", "CapEff", "CapBnd", "NoNewPrivs"),
        "programs": [name for name in PROGRAMS if shutil.which(name)],
        "pip": importlib.util.find_spec("pip") is not None,
        "healthy": {address: healthy(address) for address in (sys.argv[1], NOBODY)},
        "compiled": sorted(kernels("/tmp/kernels") - kernels("/opt/kernels")),
        "resident_mb": memory,
    }))  # fmt: skip
