"""What the viewer shows, shared between the server and the browsers that look at it.

A browser sends its state whenever its user moves; the server sends one when the dataset has grown.
Each state has a name (a generation): whoever made a state from an older one than there is loses.
"""

import json
import threading
from typing import Any, NamedTuple

from .state import State, merged


class Told(NamedTuple):
    """A state as it is sent: JSON, and the name it goes by."""

    text: str
    generation: str


class SharedState:
    """One state, safe to use from several threads."""

    def __init__(self, state: State) -> None:
        self._changed = threading.Condition()
        self._made = state  # as it was made of the dataset
        self._told = Told(json.dumps(state), "fibstream/0")
        self._count = 0
        self._closed = False

    def renew(self, state: State) -> None:
        """Take what is new in a state made of the dataset; where the user looks stays."""
        with self._changed:
            seen = merged(json.loads(self._told.text), self._made, state)
            self._made = state
            self._count += 1
            self._told = Told(json.dumps(seen), f"fibstream/{self._count}")
            self._changed.notify_all()

    def post(self, state: State, *, client: str, number: str, previous: str) -> str | None:
        """Take the state of a browser; return its name, or None if it was made from an old one."""
        with self._changed:
            if previous != self._told.generation:
                return None
            self._told = Told(json.dumps(state), f"{client}/{number}")
            self._changed.notify_all()
            return self._told.generation

    def wait(self, *, client: str, last: str, timeout_s: float) -> Told | None:
        """Return the state once it is neither the last one that a browser has, nor its own."""

        def other() -> bool:
            generation = self._told.generation
            own = generation.rpartition("/")[0] == client
            return self._closed or (generation != last and (not own or not last))

        with self._changed:
            self._changed.wait_for(other, timeout_s)
            return self._told if other() and not self._closed else None

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._closed

    def close(self) -> None:
        """Wake all who wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def placed(value: Any, old: str, new: str) -> Any:
    """Return a JSON value with one address in all texts replaced by another."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [placed(item, old, new) for item in value]
    if isinstance(value, dict):
        return {key: placed(item, old, new) for key, item in value.items()}
    return value
