"""Typed access to the compiler."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function of arrays; it runs without the GIL and stays compiled on disk."""
    return cast("F", numba.njit(cache=True, nogil=True)(function))
