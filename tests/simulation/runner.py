"""Seed after seed in two processes; a seed that fails is named at once."""

import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context

from .cell import cell_world
from .scale import small_scale
from .world import World

PROCESSES = 2
LINES = 20  # of progress


KINDS: dict[str, Callable[[int], World]] = {"small": World, "cells": cell_world}


def fate(kind: str, seed: int) -> tuple[int, str]:
    """Return the seed and how it ended: nothing when all was well, else the trace."""
    try:
        with small_scale():
            KINDS[kind](seed).run()
    except Exception:  # whatever a seed runs into is what we look for
        return seed, traceback.format_exc()
    return seed, ""


def simulate(runs: int, first: int = 0, kind: str = "small") -> list[int]:
    """Run the seeds from ``first`` on, of small pipelines or of cells; return those that failed."""
    failed, begun = [], time.monotonic()
    # Spawned, not forked: a child must not inherit the locks of threads.
    with get_context("spawn").Pool(PROCESSES) as pool:
        fates = pool.imap_unordered(partial(fate, kind), range(first, first + runs))
        for done, (seed, trace) in enumerate(fates, 1):
            if trace:
                failed.append(seed)
                print(f"{trace}seed {seed} FAILED", flush=True)
            if done % max(runs // LINES, 1) == 0 or done == runs:
                spent = time.monotonic() - begun
                print(f"{done} of {runs} seeds, {len(failed)} failed, {spent:.0f} s", flush=True)
    return sorted(failed)
