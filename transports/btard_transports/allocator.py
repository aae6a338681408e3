"""Keeps glibc from mapping and unmapping memory for every large message."""

import ctypes
import functools

# From <malloc.h>. glibc refuses an mmap threshold above 32 MiB.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD = 32 * 1024 * 1024
# Once the mmap threshold is set by hand, glibc trims the heap at 128 KiB: that would undo the gain.
_TRIM_THRESHOLD = 512 * 1024 * 1024


@functools.cache
def keep_large_blocks() -> bool:
    """Let malloc reuse blocks of up to 32 MiB, once per process; False where there is no glibc.

    Fresh pages for every chunk cost a third of the processor time of large messages.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD))
