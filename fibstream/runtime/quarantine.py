"""Datasets that a process leaves alone: each with its reason, and looked at again now and then."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from fibstream.core.errors import FibstreamError
from fibstream.core.keys import canonical
from fibstream.core.ports import Files, Generation
from fibstream.store.local import PRIVATE
from fibstream.telemetry.metrics import QUARANTINED, SILENT, Telemetry

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0  # until a dataset is tried again; doubles each time it fails soon
LONGEST_PAUSE_S = 30.0
LOOK_S = 1.0  # until the record of one that is left alone is looked at again, a request to a bucket
SOON_S = 60.0  # one that did well for so long had no lasting trouble
REPORTS = f"{PRIVATE}/quarantine"  # below a root, a file for each service whose planner has some
READ_S = 1.0  # until those files are read again
MAX_REPORT = 1 << 20  # bytes that are read of each
MAX_REASON = 300  # characters: a line that a person reads


@dataclass
class _Rest:
    """How long a dataset is left alone, unless its record is replaced."""

    pause_s: float
    until: float
    look: float  # when the record is looked at again
    generation: Generation | None  # of the record at the last failure


class Quarantine:
    """The datasets of one process that cannot be served as they are.

    ``generation`` returns that of a dataset's record. One that has another record, mended or of a
    dataset created anew, is tried at once. A reason is logged once, not with every attempt.
    """

    def __init__(
        self, generation: Callable[[str], Generation | None], telemetry: Telemetry = SILENT
    ) -> None:
        self.reasons: dict[str, str] = {}
        self.changed = True  # whether reasons came or went since somebody set this to False
        self._generation = generation
        self._telemetry = telemetry
        self._rests: dict[str, _Rest] = {}
        telemetry.set(QUARANTINED, 0)

    def put(self, name: str, error: Exception | str) -> None:
        """Leave a dataset alone for a while, for a reason."""
        now, before, pause_s = time.monotonic(), self._rests.get(name), FIRST_PAUSE_S
        found = self._look(name, before.generation if before else None)
        if before and before.generation == found and now - before.until < SOON_S:
            pause_s = min(before.pause_s * 2, LONGEST_PAUSE_S)
        self._rests[name] = _Rest(pause_s, now + pause_s, now + LOOK_S, found)
        reason = reason_of(error)
        if self.reasons.get(name) != reason:
            bug = None if isinstance(error, FibstreamError | str) else error
            log.error("dataset %.140s is left alone: %s", name, reason, exc_info=bug)
            self._set(name, reason)

    def ready(self, name: str) -> bool:
        """Whether a dataset may be served, or tried again."""
        rest, now = self._rests.get(name), time.monotonic()
        if rest is None or now >= rest.until:
            return True
        if now >= rest.look:
            rest.look = now + LOOK_S
            if self._look(name, rest.generation) != rest.generation:
                self._forget(name)
                return True
        return False

    def release(self, name: str) -> None:
        """Take back a dataset that did well."""
        if name in self.reasons:
            log.info("dataset %.140s is served again", name)
            self._set(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Forget all datasets but those of these names: the others are gone."""
        for name in self._rests.keys() - set(names):
            self._forget(name)

    def expire(self) -> None:
        """Forget what was mended, and what nobody has failed at for ``SOON_S`` since its pause.

        For a worker, which may get no task of a dataset that would show that it does well.
        """
        now = time.monotonic()
        for name, rest in list(self._rests.items()):
            if now - rest.until >= SOON_S:
                self._forget(name)
            elif now >= rest.look:
                rest.look = now + LOOK_S
                if self._look(name, rest.generation) != rest.generation:
                    self._forget(name)

    def _forget(self, name: str) -> None:
        del self._rests[name]
        self._set(name, None)

    def _look(self, name: str, before: Generation | None) -> Generation | None:
        """Return the generation of a record; the one ``before`` while it cannot be seen."""
        try:
            return self._generation(name)
        except FibstreamError:  # a disk that is away, or no dataset's name
            return before

    def _set(self, name: str, reason: str | None) -> None:
        if reason is None:
            self.reasons.pop(name, None)
        else:
            self.reasons[name] = reason
        self.changed = True
        self._telemetry.set(QUARANTINED, len(self.reasons))


def reason_of(error: Exception | str) -> str:
    """Return an error as one line: of a bug with its kind, since its text alone says little."""
    known = isinstance(error, FibstreamError | str)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:MAX_REASON]


class Reports:
    """What the planners below a root leave alone, told to all processes by files of that root."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._read_s = float("-inf")
        self._found: dict[str, str] = {}

    def put(self, service: str, reasons: Mapping[str, str]) -> None:
        """Tell what the planner of a service leaves alone; nothing takes the file away."""
        path = f"{REPORTS}/{service}"
        with contextlib.suppress(FibstreamError):  # it is told again when it changes
            if reasons:
                self._files.put(path, canonical(dict(reasons)))
            else:
                self._files.delete(path)

    def read(self) -> Mapping[str, str]:
        """Return the datasets that planners leave alone, each with the reason of one of them."""
        if time.monotonic() - self._read_s > READ_S:
            found: dict[str, str] = {}
            for path in self._files.list(REPORTS):
                found |= self._at(path)
            self._found, self._read_s = found, time.monotonic()
        return self._found

    def _at(self, path: str) -> dict[str, str]:
        handle = self._files.open(path)
        if handle is None:
            return {}
        with contextlib.closing(handle):
            try:
                told = json.loads(handle.read(0, min(handle.size, MAX_REPORT)))
            except (ValueError, RecursionError):
                return {}
        items = told.items() if isinstance(told, dict) else ()
        return {name[:MAX_REASON]: str(reason)[:MAX_REASON] for name, reason in items}
