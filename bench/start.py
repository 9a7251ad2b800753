"""What a process of each service costs before its first turn: processor seconds, and modules.

Run: ``python bench/start.py``. It prints medians, and ratios against an interpreter that imports
NumPy alone, in the same run.
"""

import os
import statistics
import subprocess
import sys

from fibstream import registry

RUNS = 5
NUMPY = "import numpy"
PLANNER = """
import fibstream.runtime.main, fibstream.bus.sqlite
from fibstream import registry
registry.service({name!r}); registry.families()
"""


def seconds(code: str) -> float:
    """Return the median processor time of an interpreter that runs ``code``."""
    found = []
    for _ in range(RUNS):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True)
        after = os.times()
        used = after.children_user - before.children_user
        found.append(used + after.children_system - before.children_system)
    return statistics.median(found)


def main() -> None:
    base = seconds(NUMPY)
    print(f"numpy alone: {base:.2f} s")
    for name in registry.names():
        spent = seconds(PLANNER.format(name=name))
        print(f"planner of {name}: {spent:.2f} s, {spent / base:.1f} times numpy alone")


if __name__ == "__main__":
    main()
