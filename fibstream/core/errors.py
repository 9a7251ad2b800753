"""The fates of a failure.

::

    FibstreamError
    ├── WrongUse     the user's input is wrong: one clear line, exit 2, nothing touched
    │   ├── NotFound      what it names does not exist
    │   ├── AlreadyThere  what it wants to make exists, and is another
    │   ├── NotNow        right in itself, but not in this state
    │   └── TooMuch       beyond a limit
    ├── Retryable    store or broker away, disk full: back off, bounded, then the run stops
    └── Poison       this input can never succeed: recorded ``failed``, the rest goes on

Anything else is a bug: the process dies, the task is delivered again, and after three crashes on
one task it is parked.
"""


class FibstreamError(Exception):
    """Base of every error that fibstream raises on purpose."""


class WrongUse(FibstreamError):
    """What the user gave cannot be used; the message names it and says what is expected."""


class NotFound(WrongUse):
    """What the user named does not exist."""


class AlreadyThere(WrongUse):
    """What the user wants to make exists, and is another."""


class NotNow(WrongUse):
    """Right in itself, but not in the state that things are in."""


class TooMuch(WrongUse):
    """Beyond a limit; the message gives it."""


class Retryable(FibstreamError):
    """The outside world is away for the moment."""


class Poison(FibstreamError):
    """This input can never succeed."""


class DiskFull(Retryable):
    """No room is left; a run stops at once, and goes on when called again with room."""
