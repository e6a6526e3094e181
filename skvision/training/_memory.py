"""How much memory is free, and what a batch frees for the next one."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

_MEMORY = Path("/proc/meminfo")
# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 256 * 2**20
# What glibc itself goes up to, and no further.
_LARGEST_BLOCK = 32 * 2**20
_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory, up to 256 MB, for the next batch.

    glibc gives what is freed back to the system, which has to fill pages with zeros
    when the next batch wants them: between a tenth and a third of the time of an epoch
    of the default network on Fashion-MNIST, on one thread of a CPU. This sets it for
    the whole process, for all that runs in it, and once is enough. Settings in the
    environment (``MALLOC_TRIM_THRESHOLD_`` and the like) stay as they are.

    Returns
    -------
    kept : bool
        False where the C library is another one, or the environment has settings.

    Examples
    --------
    >>> from skvision.training import keep_freed_memory
    >>> kept = keep_freed_memory()  # At the top of a script that trains on a CPU.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _SETTINGS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # Another C library.
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK) and mallopt(_M_TRIM_THRESHOLD, _KEPT)
    )


def free_memory(device: torch.device) -> int:
    """Return how many bytes of memory are free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        # Linux gives away what only caches files, which sysconf does not count.
        lines = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 2**32  # Not told on this system.
