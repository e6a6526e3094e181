"""Files that are the old ones or the new ones at every moment."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["write_atomically"]


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], object]
) -> None:
    """Replace a file in one step, or leave the old one if anything goes wrong.

    Parameters
    ----------
    path : str or path-like
        Where a link leads, the file that it leads to is replaced.
    write : callable
        Gets an open file, next to `path`, and writes all of it.

    Raises
    ------
    OSError
        If there is no such folder, no space or no permission.
    """
    target = Path(os.path.realpath(path))
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent
    )
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        _set_mode(name, target)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(target.parent)


def _set_mode(name: str, target: Path) -> None:
    """Give a file the permissions of the one it replaces, or of any new file."""
    try:
        mode = target.stat().st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    with contextlib.suppress(OSError):
        os.chmod(name, mode)


def _sync_folder(folder: Path) -> None:
    """Make the new name of a file survive a loss of power, where folders allow it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
