"""Many seeds of the simulation: ``python -m tests.simulation [--cells] RUNS [FIRST]``.

``python -m tests.simulation 1 SEED`` replays one seed with its trace. ``--cells``: of the pipeline
``cell``, 27 organelles, a hundred times slower.
"""

import argparse
import sys

from .runner import simulate

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", action="store_true")
    parser.add_argument("runs", type=int)
    parser.add_argument("first", type=int, nargs="?", default=0)
    given = parser.parse_args()
    failed = simulate(given.runs, given.first, "cells" if given.cells else "small")
    sys.exit(f"failed seeds: {', '.join(map(str, failed))}" if failed else 0)
