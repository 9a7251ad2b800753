"""Readers on damaged files: voxels or one line, within 2 s and 100 MB + 10 times the file's size.

Run: ``python bench/fuzz_readers.py [--examples N] [--format NAME] [--seed N]``. Each format is
damaged N times (``tests/volumes/fuzzing.py``); a file on which the law is broken is printed.
"""

import argparse
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))  # what is damaged, and how, is the tests'

from tests.volumes.fuzzing import FORMATS, check_law, damages


def fuzz(name: str, examples: int, number: int) -> bool:
    """Damage one format; return whether the law held."""
    found: Counter[str] = Counter()
    slowest, begin = 0.0, time.perf_counter()
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        form = FORMATS[name](Path(folder))

        @seed(number)
        @settings(
            max_examples=examples, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(which=st.integers(0, 10), damage=damages)
        def every(which, damage):
            nonlocal slowest
            start = time.perf_counter()
            line = check_law(Path(folder), form, which, damage)
            slowest = max(slowest, time.perf_counter() - start)
            found["read" if not line else "damaged" if "damaged" in line else "refused"] += 1

        try:
            every()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            print(f"{name}: BROKEN after {sum(found.values())}: {type(error).__name__} {error}")
            print(*getattr(error, "__notes__", []), sep="\n")
            return False
    counts = ", ".join(f"{found[kind]} {kind}" for kind in ("read", "refused", "damaged"))
    took = time.perf_counter() - begin
    total = sum(found.values())
    print(f"{name}: {total} files: {counts}; slowest {slowest:.2f} s, all {took:.0f} s", flush=True)
    return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--format", choices=[*FORMATS], action="append")
    parser.add_argument("--seed", type=int, default=0)
    given_ = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    held = [fuzz(name, given_.examples, given_.seed) for name in given_.format or FORMATS]
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
