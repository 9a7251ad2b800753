"""Machine code from a function over arrays.

No floating-point shortcuts are allowed (``fastmath`` stays off): a voxel must come out the same in
the vector body of a loop and in its remainder, or blocks would not equal the whole.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile ``function`` at its first call, keep the code on disk, and run without the GIL."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: F) -> F:
    """Compile ``function`` into whatever compiled function calls it.

    A call by itself costs more than most of these functions do: every array is handed over as
    seven words.  Compiled callers that lie on disk do not notice when it changes: after editing
    one, remove ``__pycache__``.
    """
    return cast(
        "F",
        numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True, _nrt=False)(
            function
        ),
    )


def lean(function: F) -> F:
    """Compile ``function``, which must not allocate, without the counting of references.

    Counting costs an atomic addition for every array at every call, more than the sums of a voxel.
    """
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function))
