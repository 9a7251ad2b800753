"""Machine code from a function over arrays."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile ``function`` at its first call, keep the code on disk, and run without the GIL."""
    return cast("F", numba.njit(cache=True, nogil=True)(function))
