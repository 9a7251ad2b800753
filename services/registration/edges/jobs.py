"""Registrations that calls started: one is computed at a time, in a thread of its own; few wait.

What is under way is known to this process alone, and forgotten when it ends: whoever asks again
gets what was found, or starts it anew.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, NamedTuple

from fibstream.core.errors import FibstreamError, LimitExceeded
from fibstream.core.ports import Generation
from fibstream.services.registration.planned import Planned

log = logging.getLogger(__name__)

MAX_JOBS = 8  # that wait or are computed: with 10 to 25 seconds each the last waits minutes
MAX_FAILED = 64  # that are remembered with the reason

Where = tuple[str, str, str]  # dataset, its incarnation, and the registration's name


class Job(NamedTuple):
    """A registration that was asked for; ``key`` names the request, ``before`` what it replaces."""

    where: Where
    planned: Planned
    key: str
    before: Generation


class State(NamedTuple):
    """What became of a job so far."""

    job: Job
    status: Literal["waiting", "registering", "failed"]
    reason: str = ""


class Jobs:
    """Jobs by their place; ``run`` computes one, and raises where it cannot be done."""

    def __init__(self, run: Callable[[Job], None]) -> None:
        self._run = run
        self._states: OrderedDict[Where, State] = OrderedDict()  # in the order of their start
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def find(self, where: Where) -> State | None:
        """Return what is under way or has failed at a place; None where nothing is."""
        with self._changed:
            return self._states.get(where)

    def of(self, dataset: str, incarnation: str) -> list[State]:
        """Return all that is under way or has failed of a dataset."""
        with self._changed:
            return [s for place, s in self._states.items() if place[:2] == (dataset, incarnation)]

    def check_room(self) -> None:
        """Raise LimitExceeded where no further job may wait."""
        with self._changed:
            if sum(state.status != "failed" for state in self._states.values()) >= MAX_JOBS:
                raise LimitExceeded(
                    f"{MAX_JOBS} registrations are under way, the limit: call again later"
                )

    def start(self, job: Job) -> None:
        """Let a job wait for its turn; raise LimitExceeded where too many do."""
        self.check_room()
        with self._changed:
            self._states.pop(job.where, None)
            self._states[job.where] = State(job, "waiting")
            failed = [place for place, s in self._states.items() if s.status == "failed"]
            for place in failed[: max(len(failed) - MAX_FAILED, 0)]:
                del self._states[place]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="register", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Begin no further job; the one that is computed ends with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            failed = self._outcome(job)
            with self._changed:
                if failed is None:
                    del self._states[job.where]
                else:
                    self._states[job.where] = State(job, "failed", failed)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                waiting = (s.job for s in self._states.values() if s.status == "waiting")
                if (job := next(waiting, None)) is not None:
                    self._states[job.where] = State(job, "registering")
                    return job
                self._changed.wait()
        return None

    def _outcome(self, job: Job) -> str | None:
        """Compute one; return why it failed, or None."""
        try:
            self._run(job)
        except FibstreamError as error:
            return str(error)
        except Exception:
            log.exception("registration %s of %s failed", job.where[2], job.where[0])
            return "internal error; the server's log says more"
        return None
