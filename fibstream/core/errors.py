"""Errors, by what follows from each.

::

    FibstreamError
    ├── WrongUse     the user's input is wrong: one clear line, exit 2, nothing touched
    │   ├── NotFound       what is named does not exist
    │   ├── AlreadyExists  what is to be created exists, with other content
    │   ├── WrongState     allowed, but not in the present state
    │   ├── OutOfRange     beyond the end of what there is
    │   ├── Damaged        what lies there is not what fibstream writes
    │   └── LimitExceeded  beyond a limit
    ├── Retryable    store or broker away, disk full: back off, bounded, then the run stops
    └── Poison       this input can never succeed: recorded ``failed``, the rest goes on

Anything else is a bug: the process dies, the task is delivered again, and after three crashes on
one task it is parked. A process that hosts many datasets leaves that of the bug alone instead.
"""


class FibstreamError(Exception):
    """Base of every error that fibstream raises on purpose."""


class WrongUse(FibstreamError):
    """What the user gave cannot be used; the message names it and says what is expected."""


class NotFound(WrongUse):
    """What is named does not exist."""


class AlreadyExists(WrongUse):
    """What is to be created exists, with other content."""


class WrongState(WrongUse):
    """The request is allowed, but not in the present state; the message names the state."""


class OutOfRange(WrongUse):
    """What is asked for lies beyond the end of what there is, which the message gives."""


class Damaged(WrongUse):
    """What lies there is not what fibstream writes: damaged, or of another program or version."""


class LimitExceeded(WrongUse):
    """The request is beyond a limit; the message gives it."""


class Retryable(FibstreamError):
    """Store or bus cannot be reached at present; trying again may succeed."""


class Poison(FibstreamError):
    """This input can never succeed; trying again is of no use."""


class DiskFull(Retryable):
    """No space is left: a run stops at once, and continues when started again with space."""
