"""``fibstream watch``: a folder into which a microscope writes becomes landed chunks."""

import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.core.grid import MAX_AXIS
from fibstream.services.ingest.arrivals import Rules
from fibstream.services.ingest.edges.watch.ending import EndCondition
from fibstream.services.ingest.edges.watch.port import Port
from fibstream.services.ingest.edges.watch.watcher import Outcome, Watcher, WatchSettings
from fibstream.volumes.slice_names import check_pattern

DONE, INCOMPLETE, STOPPED = 0, 1, 130
CODES: dict[Outcome, int] = {"done": DONE, "incomplete": INCOMPLETE, "stopped": STOPPED}
MAX_DIGITS = 18  # of a slice's number: dates with a time of day have 14


def watch_folder(
    port: Port,
    dataset: str,
    folder: str,
    *,
    ending: EndCondition,
    rules: Rules,
    settings: WatchSettings,
) -> int:
    """Watch until the end and report on stderr; return the exit code.

    0: all has landed and the volume is sealed. 1: something is missing, or was left out. 130:
    stopped by a signal; the next call continues.
    """
    with stop_signals() as pause:
        watcher = Watcher(
            folder, dataset, port, rules=rules, end=ending, settings=settings,
            clock=time.monotonic, pause=pause, report=_report,
        )  # fmt: skip
        outcome = watcher.run()
    if outcome == "stopped":
        _report(f"{dataset}: stopped, not sealed; call again to go on")
    elif outcome == "done":
        _report(f"{dataset}: all slices have landed")
    return INCOMPLETE if outcome == "done" and watcher.problems else CODES[outcome]


def make_rules(
    *, stable_s: float, giveup_s: float, first: int | None, absent: str | None, pattern: str | None
) -> Rules:
    """Return from flags when a slice is complete and how its name is read.

    Raises
    ------
    WrongUse
        If a flag is invalid; the message names it.
    """
    for flag, seconds in (("--stable-s", stable_s), ("--giveup-s", giveup_s)):
        check_positive(flag, seconds)
    if first is not None and first < 0:
        raise WrongUse(f"--first {first}: expected the number of a slice, 0 or more")
    numbers = frozenset[int]() if absent is None else parse_numbers(absent, "--absent")
    return Rules(stable_s, giveup_s, first, numbers, pattern and check_pattern(pattern))


def make_ending(*, slices: int | None, end_file: str | None, idle_s: float | None) -> EndCondition:
    """Return from flags when the volume ends; raises WrongUse as ``make_rules``."""
    if slices is not None and not 1 <= slices <= MAX_AXIS:
        raise WrongUse(f"--slices {slices}: expected 1 to {MAX_AXIS}")
    if end_file is not None and Path(end_file).name != end_file:
        raise WrongUse(f"--end-file {echo(end_file)}: expected a name in the folder, not a path")
    if idle_s is not None:
        check_positive("--idle-s", idle_s)
    return EndCondition(slices, end_file, idle_s)


def make_settings(*, poll_s: float, again: bool, memory_gb: float) -> WatchSettings:
    """Return the other settings from flags; raises WrongUse as ``make_rules``."""
    check_positive("--poll-s", poll_s)
    check_positive("--memory-gb", memory_gb)
    return WatchSettings(poll_s, again, int(memory_gb * 1e9))


def check_positive(flag: str, value: float) -> None:
    """Raise WrongUse unless a number is positive and finite."""
    if not 0 < value < float("inf"):
        raise WrongUse(f"{flag} {value:g}: expected a positive number")


def parse_numbers(text: str, what: str) -> frozenset[int]:
    """Return the numbers of a list such as ``17,20-30``.

    Raises
    ------
    WrongUse
        If ``text`` is anything else, or names more slices than a volume has.
    """
    found: set[int] = set()
    for word in text.split(","):
        parts = re.fullmatch(
            rf"\s*([0-9]{{1,{MAX_DIGITS}}})(?:-([0-9]{{1,{MAX_DIGITS}}}))?\s*", word
        )
        start, stop = (int(parts[1]), int(parts[2] or parts[1])) if parts else (1, 0)
        if not start <= stop < start + MAX_AXIS:
            raise WrongUse(
                f"{what} {echo(text)}: expected numbers of slices, such as 17 or 17,20-30"
            )
        found.update(range(start, stop + 1))
    return frozenset(found)


def _report(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


@contextmanager
def stop_signals() -> Iterator[Callable[[float], bool]]:
    """Yield a wait for some seconds, which SIGINT and SIGTERM end: then it returns True.

    A second signal has its usual effect. No event of ``threading`` is used: set in a handler it
    can wait for the very thread that the signal has interrupted.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: object) -> None:
        os.write(write, b"!")
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield lambda wait_s: bool(select.select([read], [], [], wait_s)[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
