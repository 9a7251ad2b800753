"""Pipelines of strangers: a dataset or one short line, within a second and 50 MB, whatever is sent.

Run: ``python bench/fuzz_pipelines.py [--texts N] [--trees N] [--seed N]``. A pipeline on which the
law of ``tests/app/pipeline_fuzzing.py`` is broken is printed.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))  # what is drawn, and the law, is the tests'

from tests.app.pipeline_fuzzing import (
    MEMORY,
    REQUESTS,
    VALID,
    check_law,
    held,
    text_of,
    trees,
    written,
)

EVERY = 10_000
TRACED = 20  # of so many the memory of one is measured: that takes a few times as long


class Tally:
    """What came of the pipelines so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: Counter[str] = Counter()
        self.lines: set[str] = set()
        self.slowest = self.most = 0.0
        self.begun = time.perf_counter()

    def check(self, text: str, request) -> None:
        number = self.found.total()
        try:
            found = check_law(text, request)
        except BaseException:
            print(f"{self.name}: BROKEN by {text[:400]!r}", flush=True)
            raise
        self.found["refused" if found.line else "accepted"] += 1
        self.lines.add(found.line)
        self.slowest = max(self.slowest, found.seconds)
        if number % TRACED == 0:
            self.most = max(self.most, held(text, request))
            assert self.most < MEMORY, (self.most, text[:400])
        if self.found.total() % EVERY == 0:
            self.say()

    def say(self) -> None:
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(self.found.items()))
        print(
            f"{self.name}: {counts}, {len(self.lines)} lines; slowest {self.slowest:.2f} s,"
            f" most {self.most / 2**20:.1f} MB, all {time.perf_counter() - self.begun:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    logging.disable()
    for text in VALID:
        check_law(text, REQUESTS[0])
    texts = Tally("texts")
    for number in range(asked.seed, asked.seed + asked.texts):
        texts.check(text_of(number), REQUESTS[number % len(REQUESTS)])
    texts.say()
    drawn = Tally("trees")

    @seed(asked.seed)
    @settings(max_examples=asked.trees, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(trees(), st.integers(0, 2), st.sampled_from(REQUESTS))
    def every(tree, style, request) -> None:
        drawn.check(written(tree, style), request)

    every()
    drawn.say()


if __name__ == "__main__":
    main()
