"""Many seeds of the simulation: ``python -m tests.simulation RUNS [FIRST]``.

``python -m tests.simulation 1 SEED`` replays one seed with its trace.
"""

import sys

from .runner import simulate

if __name__ == "__main__":
    failed = simulate(*map(int, sys.argv[1:]))
    sys.exit(f"failed seeds: {', '.join(map(str, failed))}" if failed else 0)
