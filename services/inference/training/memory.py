"""Memory that training frees is kept by the C library while training goes on, and no longer."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt, in glibc's malloc.h
TRIM_BYTES, MMAP_MAX = 128 * 1024, 65_536  # what they are by themselves


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Have the C library keep memory that is freed meanwhile; yield whether it does.

    Else maps of 32 MiB and more go back to the system, which clears them anew page by page: a
    third of a step (16 channels of 64³, batch 2). Only glibc does so, and lets itself be told.
    Afterwards the process is as others are, and what was kept goes back.
    """
    try:
        library = ctypes.CDLL(None)
        told, trim = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):
        yield False
        return
    try:
        yield bool(told(M_MMAP_MAX, 0) and told(M_TRIM_THRESHOLD, -1))
    finally:
        told(M_MMAP_MAX, MMAP_MAX)
        told(M_TRIM_THRESHOLD, TRIM_BYTES)
        trim(0)
