"""The state of the viewer, shared between the server and the browsers that show it.

A browser sends its state whenever its user moves; the server sends one when the dataset has grown.
Each state has a name, its generation; one that was derived from an older generation is rejected.
"""

import json
import threading
from typing import Any, NamedTuple

from .state import State, merged


class Snapshot(NamedTuple):
    """A state as JSON, and its generation."""

    text: str
    generation: str


class SharedState:
    """One state, safe to use from several threads."""

    def __init__(self, state: State) -> None:
        self._changed = threading.Condition()
        self._derived = state  # from the dataset alone
        self._current = Snapshot(json.dumps(state), "fibstream/0")
        self._count = 0
        self._closed = False

    def renew(self, state: State) -> None:
        """Merge in what is new in a state of the dataset; the user's own changes stay."""
        with self._changed:
            seen = merged(json.loads(self._current.text), self._derived, state)
            self._derived = state
            self._count += 1
            self._current = Snapshot(json.dumps(seen), f"fibstream/{self._count}")
            self._changed.notify_all()

    def post(self, state: State, *, client: str, number: str, previous: str) -> str | None:
        """Take the state of a browser; return its generation, None if ``previous`` is outdated."""
        with self._changed:
            if previous != self._current.generation:
                return None
            self._current = Snapshot(json.dumps(state), f"{client}/{number}")
            self._changed.notify_all()
            return self._current.generation

    def wait(self, *, client: str, last: str, timeout_s: float) -> Snapshot | None:
        """Return the state once it is neither the last that a browser received, nor its own.

        None after ``timeout_s``, or when it is closed.
        """

        def other() -> bool:
            generation = self._current.generation
            own = generation.rpartition("/")[0] == client
            return self._closed or (generation != last and (not own or not last))

        with self._changed:
            self._changed.wait_for(other, timeout_s)
            return self._current if other() and not self._closed else None

    @property
    def closed(self) -> bool:
        """Whether no state follows."""
        return self._closed

    def close(self) -> None:
        """Wake all that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def replaced(value: Any, old: str, new: str) -> Any:
    """Return a JSON value with a text replaced by another in all its strings."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    if isinstance(value, dict):
        return {key: replaced(item, old, new) for key, item in value.items()}
    return value
