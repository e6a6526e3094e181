"""Memory that a batch frees and the next one takes again."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

__all__ = ["keep_freed_memory"]

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 256 * 2**20
# What glibc itself goes up to, and no further.
_LARGEST_BLOCK = 32 * 2**20
_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep freed memory, up to 256 MB; return whether it does.

    glibc gives what is freed back to the system, which has to fill pages with zeros
    when the next batch wants them: between a tenth and a third of the time of an epoch
    of the default network on Fashion-MNIST, on one thread of a CPU. It is set for the
    whole process, once, unless the environment has settings of its own or
    ``SKVISION_MALLOC=0``.
    """
    if sys.platform != "linux" or os.environ.get("SKVISION_MALLOC") == "0":
        return False
    if any(name in os.environ for name in _SETTINGS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # Another C library.
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK) and mallopt(_M_TRIM_THRESHOLD, _KEPT)
    )
